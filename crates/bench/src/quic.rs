//! QUIC as it is without us: the reference of everything that goes over the network.

use anyhow::{Context, Result};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{DigitallySignedStruct, SignatureScheme};
use serde::{Deserialize, Serialize};
use skein_net::EndpointConfig;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

/// The application protocol of our endpoints (`docs/protocol.md`, section 1).
const ALPN: &[u8] = b"skein/1";

/// The server name that our endpoints use.
const SERVER_NAME: &str = "skein";

/// What answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stack {
    /// An endpoint of ours.
    Skein,
    /// quinn with its own settings and a one-way certificate.
    Quinn,
}

/// Any free port of this machine.
pub fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Our settings, but for the limits on strangers: on loopback all come from one address.
pub fn open_to_all() -> EndpointConfig {
    EndpointConfig::default()
        .max_pending_handshakes(65_536)
        .accept_queue(65_536)
        .handshake_rate(1_000_000, 1_000_000)
}

/// An identity: a self-signed Ed25519 certificate, as our endpoints have one.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// A new one.
    ///
    /// # Errors
    /// rcgen's.
    pub fn new() -> Result<Self> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
        let certificate =
            rcgen::CertificateParams::new([SERVER_NAME.to_owned()])?.self_signed(&key)?;
        Ok(Self {
            certificate: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        })
    }

    /// A server that shows it and asks its clients for nothing, with quinn's own settings.
    ///
    /// # Errors
    /// rustls's.
    pub fn server(&self) -> Result<quinn::ServerConfig> {
        let mut tls =
            rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_protocol_versions(&[&TLS13])?
                .with_no_client_auth()
                .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())?;
        tls.alpn_protocols = vec![ALPN.to_vec()];
        Ok(quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?)))
    }

    /// A client that believes every server, and shows this identity to those who ask for one.
    ///
    /// # Errors
    /// rustls's.
    pub fn client(&self) -> Result<quinn::ClientConfig> {
        let provider = Arc::new(ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_client_auth_cert(vec![self.certificate.clone()], self.key.clone_key())?;
        tls.alpn_protocols = vec![ALPN.to_vec()];
        tls.resumption = rustls::client::Resumption::disabled();
        Ok(quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?)))
    }
}

/// A quinn endpoint on loopback.
///
/// # Errors
/// The system's.
pub fn endpoint(server: Option<quinn::ServerConfig>) -> Result<quinn::Endpoint> {
    // The kernel's buffers are as large as those of our endpoints.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.bind(&loopback().into())?;
    let runtime = quinn::default_runtime().context("no runtime")?;
    let config = quinn::EndpointConfig::default();
    Ok(quinn::Endpoint::new(config, server, UdpSocket::from(socket), runtime)?)
}

/// What our endpoints ask the system for.
const SOCKET_BUFFER: usize = 2 * 1024 * 1024;

/// Opens a connection.
///
/// # Errors
/// quinn's.
pub async fn connect(
    endpoint: &quinn::Endpoint,
    client: quinn::ClientConfig,
    address: SocketAddr,
) -> Result<quinn::Connection> {
    Ok(endpoint.connect_with(client, address, SERVER_NAME)?.await?)
}

/// Believes every certificate, but not that its owner is present without a signature.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("QUIC has TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
