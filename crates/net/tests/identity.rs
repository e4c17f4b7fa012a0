//! Nobody gets in without showing who it is, and nobody is taken for somebody else.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use skein_net::{DialError, Fault};
use std::sync::Arc;

#[tokio::test]
async fn somebody_else_at_the_address_is_not_taken_for_the_node() {
    let (alice, bob) = (bind(1), bind(2));
    let carol = key(3).node_id();
    let error = alice.connect(carol, &[address(&bob)]).await.unwrap_err();
    let found = bob.node_id();
    assert_eq!(error, DialError::WrongIdentity { address: address(&bob), expected: carol, found });
    assert_eq!(error.fault(), Fault::Peer);
    assert!(alice.connection(&carol).is_none());
    assert!(alice.connection(&bob.node_id()).is_none());
}

#[tokio::test]
async fn a_node_behind_a_second_address_is_found_although_a_stranger_has_the_first() {
    let (alice, bob, carol) = (bind(1), bind(2), bind(3));
    let addresses = [address(&bob), address(&carol)];
    let connection = alice.connect(carol.node_id(), &addresses).await.unwrap();
    assert_eq!(connection.peer(), carol.node_id());
    assert_eq!(connection.remote_address(), address(&carol));
}

#[tokio::test]
async fn mistakes_of_the_caller_are_told_as_such() {
    let alice = bind(1);
    let own = alice.connect(alice.node_id(), &[address(&alice)]).await.unwrap_err();
    assert_eq!(own, DialError::Own);
    let bob = key(2).node_id();
    let none = alice.connect(bob, &[]).await.unwrap_err();
    assert_eq!(none, DialError::NoAddresses(bob));
    assert_eq!((own.fault(), none.fault()), (Fault::Local, Fault::Local));
}

/// Believes anybody, as no node would.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        unreachable!("TLS 1.3 only")
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// A client that is no node: with the certificate and protocol given.
async fn stranger(
    to: std::net::SocketAddr,
    signer: Option<rcgen::KeyPair>,
    alpn: &[u8],
) -> quinn::ConnectionError {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous));
    let mut tls = match signer {
        None => builder.with_no_client_auth(),
        Some(signer) => {
            let params = rcgen::CertificateParams::new(["skein".to_owned()]).unwrap();
            let chain = vec![params.self_signed(&signer).unwrap().der().clone()];
            let key = signer.serialize_der().try_into().unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    tls.alpn_protocols = vec![alpn.to_vec()];
    let tls = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let endpoint = quinn::Endpoint::client(loopback()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(tls));
    match endpoint.connect_with(config, to, "skein").unwrap().await {
        // The client's part of the handshake is done before the server has seen its certificate.
        Ok(connection) => connection.closed().await,
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_dialler_without_a_certificate_is_refused() {
    let bob = bind(2);
    let error = stranger(address(&bob), None, b"skein/1").await;
    assert!(matches!(error, quinn::ConnectionError::ConnectionClosed(_)), "{error}");
    assert_eq!(bob.stats().handshakes_failed_peer, 1);
    assert_eq!(bob.stats().handshakes_accepted, 0);
}

#[tokio::test]
async fn a_dialler_whose_key_is_not_ed25519_is_refused() {
    let bob = bind(2);
    let signer = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let error = stranger(address(&bob), Some(signer), b"skein/1").await;
    assert!(!matches!(error, quinn::ConnectionError::TimedOut), "{error}");
    assert_eq!(bob.stats().handshakes_accepted, 0);
}

#[tokio::test]
async fn a_dialler_of_another_protocol_is_refused() {
    let bob = bind(2);
    let signer = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let error = stranger(address(&bob), Some(signer), b"h3").await;
    assert!(matches!(error, quinn::ConnectionError::ConnectionClosed(_)), "{error}");
    assert_eq!(bob.stats().handshakes_failed_peer, 1);
}

#[tokio::test]
async fn a_dialler_with_an_ed25519_certificate_and_the_protocol_is_let_in() {
    let bob = bind(2);
    let signer = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let public = <[u8; 32]>::try_from(signer.public_key_raw()).unwrap();
    let dialling = tokio::spawn(stranger(address(&bob), Some(signer), b"skein/1"));
    let accepted = bob.accept().await.unwrap();
    assert_eq!(accepted.peer().as_bytes(), &public);
    accepted.close(skein_net::CloseReason::Done);
    dialling.await.unwrap();
}
