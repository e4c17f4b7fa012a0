//! Who is at the other end: TLS 1.3 with one self-signed Ed25519 certificate on either side.
//!
//! There is no web PKI: a certificate is only the envelope in which TLS carries a public key.
//! Nothing in it but the key is believed, and the key *is* the [`NodeId`]. That its owner is
//! present is shown by the handshake's signature (RFC 8446, section 4.4.3), which the provider's
//! own code verifies.
//!
//! Sessions are never resumed and no early data is sent. A resumed handshake skips the
//! certificate, 0-RTT data can be replayed by whoever recorded it, and both would save one
//! round trip on connections that live for hours.

use rcgen::{CertificateParams, DistinguishedName, DnType};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName as Name, SignatureScheme};
use skein_proto::{KeyPair, NodeId};
use std::sync::{Arc, OnceLock};
use zeroize::Zeroizing;

/// The application protocol (RFC 7301); another major version gets another name.
pub(crate) const ALPN: &[u8] = b"skein/1";

/// What the dialler puts into the server name extension. It is the same for every node, so that
/// who is dialled cannot be read on the wire.
pub(crate) const SERVER_NAME: &str = "skein";

/// What stands before the 32-byte seed in an Ed25519 private key in PKCS #8 (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// What stands before the 32-byte key in an Ed25519 SubjectPublicKeyInfo (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

/// A node's certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a certificate from this key: {0}")]
pub struct CertificateFailure(String);

impl CertificateFailure {
    pub(crate) fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// The TLS settings of one node, for both directions.
pub(crate) struct Identity {
    provider: Arc<CryptoProvider>,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    pub(crate) fn new(key: &KeyPair) -> Result<Self, CertificateFailure> {
        let mut pkcs8 = Zeroizing::new(PKCS8_PREFIX.to_vec());
        pkcs8.extend_from_slice(&*key.seed());
        let pkcs8 = PrivatePkcs8KeyDer::from(pkcs8.to_vec());
        let signer = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &rcgen::PKCS_ED25519)
            .map_err(CertificateFailure::of)?;
        let mut params =
            CertificateParams::new([SERVER_NAME.to_owned()]).map_err(CertificateFailure::of)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, SERVER_NAME);
        let certificate = params.self_signed(&signer).map_err(CertificateFailure::of)?;
        Ok(Self {
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            certificate: certificate.der().clone(),
            key: PrivateKeyDer::Pkcs8(pkcs8),
        })
    }

    pub(crate) fn server(&self) -> Result<rustls::ServerConfig, CertificateFailure> {
        let verifier = Arc::new(AnyNode { provider: Arc::clone(&self.provider) });
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(CertificateFailure::of)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .map_err(CertificateFailure::of)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(config)
    }

    /// The dialler's settings; they trust nobody until [`expecting`] says whom.
    pub(crate) fn client(&self) -> Result<rustls::ClientConfig, CertificateFailure> {
        let nobody = ExactlyNode::new(NodeId::from_bytes([0; 32]), &self.provider);
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(CertificateFailure::of)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(nobody))
            .with_client_auth_cert(vec![self.certificate.clone()], self.key.clone_key())
            .map_err(CertificateFailure::of)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        Ok(config)
    }
}

/// The dialler's settings for one dial: they accept exactly `node`. What was met instead is kept
/// in the verifier for the error message.
pub(crate) fn expecting(
    template: &rustls::ClientConfig,
    node: NodeId,
) -> (rustls::ClientConfig, Arc<ExactlyNode>) {
    let verifier = Arc::new(ExactlyNode::new(node, template.crypto_provider()));
    let mut config = template.clone();
    config.dangerous().set_certificate_verifier(Arc::clone(&verifier) as _);
    (config, verifier)
}

/// The node that a certificate belongs to.
///
/// # Errors
/// If it is no certificate or its key is not Ed25519.
pub(crate) fn node_of(certificate: &CertificateDer<'_>) -> Result<NodeId, rustls::Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    parsed
        .subject_public_key_info()
        .as_ref()
        .strip_prefix(&SPKI_PREFIX)
        .and_then(|key| <[u8; 32]>::try_from(key).ok())
        .map(NodeId::from_bytes)
        .ok_or(rustls::Error::InvalidCertificate(CertificateError::BadEncoding))
}

fn verify_ed25519(
    provider: &CryptoProvider,
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    if signed.scheme != SignatureScheme::ED25519 {
        return Err(rustls::Error::InvalidCertificate(CertificateError::BadSignature));
    }
    let algorithms = &provider.signature_verification_algorithms;
    verify_tls13_signature(message, certificate, signed, algorithms)
}

fn no_tls12() -> rustls::Error {
    rustls::Error::General("TLS 1.2 is not spoken here".to_owned())
}

/// Accepts exactly the node that was dialled.
#[derive(Debug)]
pub(crate) struct ExactlyNode {
    expected: NodeId,
    met: OnceLock<NodeId>,
    provider: Arc<CryptoProvider>,
}

impl ExactlyNode {
    fn new(expected: NodeId, provider: &Arc<CryptoProvider>) -> Self {
        Self { expected, met: OnceLock::new(), provider: Arc::clone(provider) }
    }

    /// Who answered, if it was somebody else.
    pub(crate) fn impostor(&self) -> Option<NodeId> {
        self.met.get().copied().filter(|met| *met != self.expected)
    }
}

impl ServerCertVerifier for ExactlyNode {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let met = node_of(end_entity)?;
        let met = *self.met.get_or_init(|| met);
        if met == self.expected {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::InvalidCertificate(CertificateError::NotValidForName))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_ed25519(&self.provider, message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// Accepts any node, but no stranger without a key. Who may do what is decided above, by its
/// credential.
#[derive(Debug)]
struct AnyNode {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyNode {
    fn root_hint_subjects(&self) -> &[Name] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        node_of(end_entity).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_ed25519(&self.provider, message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_certificate_names_the_node_that_made_it() {
        let key = KeyPair::from_seed(&[7; 32]);
        let identity = Identity::new(&key).expect("an identity");
        assert_eq!(node_of(&identity.certificate), Ok(key.node_id()));
    }

    #[test]
    fn a_certificate_of_another_kind_of_key_is_refused() {
        let signer = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let params = CertificateParams::new([SERVER_NAME.to_owned()]).expect("parameters");
        let certificate = params.self_signed(&signer).expect("a certificate");
        assert!(node_of(certificate.der()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_certificate_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = node_of(&CertificateDer::from(bytes));
        }

        #[test]
        fn a_damaged_certificate_never_panics(at in 0_usize..300, to in any::<u8>()) {
            let identity = Identity::new(&KeyPair::from_seed(&[7; 32])).expect("an identity");
            let mut bytes = identity.certificate.to_vec();
            let at = at % bytes.len();
            bytes[at] = to;
            let _ = node_of(&CertificateDer::from(bytes));
        }
    }
}
