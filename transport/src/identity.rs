//! Who a process is on the wire: a key of its own, Ed25519 or P-256, and how rustls is made to use it.
//!
//! Owns [`IdentityKey`] (implemented over the signer process by the node, over memory by [`SoftIdentity`]) and the TLS
//! configurations of both ends. Deliberately absent: X.509, certificate
//! authorities, TLS 1.2, session tickets and early data. A peer is its key and nothing else.

use std::fmt;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureAlgorithm, SignatureScheme};
use types::{AlgId, PublicKey};

use crate::error::TransportError;
use crate::raw_key;

/// The application protocols: a peer link and a client session can never be taken for each other.
const ALPN_MESH: &[u8] = b"stele-mesh/1";
const ALPN_CLIENT: &[u8] = b"stele-client/1";

/// The transport key of this process. It signs one TLS handshake transcript per connection, which RFC 8446 §4.4.3
/// prefixes with 64 spaces, so that nothing it signs can be mistaken for a consensus message.
///
/// `sign` is called on the task that drives the connection and may block for as long as a signing device needs.
pub trait IdentityKey: Send + Sync + fmt::Debug {
    /// The public key, as peers pin it: Ed25519 or P-256.
    fn public_key(&self) -> PublicKey;
    /// The signature of `message` as `types` has it: 64 bytes for both algorithms.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, IdentityFault>;
}

/// Why an identity key did not sign. The handshake in progress fails; the next one asks again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityFault {
    /// The signer process, or the device behind it, cannot be reached.
    #[error("the signer cannot be reached")]
    Unavailable,
    /// The signer answered and declined.
    #[error("the signer refused with code {code}")]
    Refused {
        /// The signer's own code.
        code: u32,
    },
    /// The signer did not answer in time.
    #[error("the signer did not answer in time")]
    TimedOut,
}

/// An identity key in memory: for tests, clients and `--signer soft`.
#[derive(Clone)]
pub struct SoftIdentity(types::SecretKey);

impl SoftIdentity {
    /// Wraps a key.
    pub fn new(key: types::SecretKey) -> Self {
        Self(key)
    }

    /// The key with this seed (RFC 8032 §5.1.5).
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(types::SecretKey::ed25519_from_seed(seed))
    }
}

impl fmt::Debug for SoftIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftIdentity({:?})", self.0.public_key())
    }
}

impl IdentityKey for SoftIdentity {
    fn public_key(&self) -> PublicKey {
        self.0.public_key()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, IdentityFault> {
        Ok(self.0.sign_bytes(message).as_bytes().to_vec())
    }
}

/// The key that the other end of `connection` has proved to hold.
pub(crate) fn remote_key(connection: &quinn::Connection) -> Option<PublicKey> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    raw_key::key_of(chain.first()?)
}

/// Whom to believe at a handshake.
#[derive(Clone)]
pub(crate) enum Trust {
    /// Exactly these keys.
    Pinned(Arc<[PublicKey]>),
    /// Any key whose possession is proved: a client that was not told the server's key.
    Any,
}

/// TLS of an accepting endpoint. `peers` is `None` where clients stay anonymous.
pub(crate) fn server_tls(
    identity: &Arc<dyn IdentityKey>,
    peers: Option<Arc<[PublicKey]>>,
) -> Result<Arc<QuicServerConfig>, TransportError> {
    let provider = provider();
    let mutual = peers.is_some();
    let verifier: Arc<dyn ClientCertVerifier> = match peers {
        Some(keys) => Arc::new(RawKeyVerifier::new(Trust::Pinned(keys), &provider)),
        None => Arc::new(rustls::server::NoClientAuth),
    };
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(rustls::server::AlwaysResolvesServerRawPublicKeys::new(certified(identity)?)));
    config.alpn_protocols = vec![if mutual { ALPN_MESH.to_vec() } else { ALPN_CLIENT.to_vec() }];
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(Arc::new(QuicServerConfig::try_from(config).map_err(|_| TransportError::CipherSuite)?))
}

/// TLS of a dialling endpoint. `identity` is `None` where the server does not ask who is calling.
pub(crate) fn client_tls(
    identity: Option<&Arc<dyn IdentityKey>>,
    trust: Trust,
) -> Result<Arc<QuicClientConfig>, TransportError> {
    let provider = provider();
    let verifier = Arc::new(RawKeyVerifier::new(trust, &provider));
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let (mut config, alpn) = match identity {
        Some(identity) => {
            let resolver = rustls::client::AlwaysResolvesClientRawPublicKeys::new(certified(identity)?);
            (builder.with_client_cert_resolver(Arc::new(resolver)), ALPN_MESH)
        }
        None => (builder.with_no_client_auth(), ALPN_CLIENT),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_early_data = false;
    Ok(Arc::new(QuicClientConfig::try_from(config).map_err(|_| TransportError::CipherSuite)?))
}

/// aws-lc-rs, with the hybrid of X25519 and ML-KEM-768 offered first and the signature schemes of [`raw_key`].
fn provider() -> Arc<CryptoProvider> {
    use rustls::crypto::aws_lc_rs as lc;
    let mut provider = lc::default_provider();
    provider.kx_groups = vec![lc::kx_group::X25519MLKEM768, lc::kx_group::X25519];
    Arc::new(provider)
}

fn certified(identity: &Arc<dyn IdentityKey>) -> Result<Arc<CertifiedKey>, TransportError> {
    let public = identity.public_key();
    let (spki, scheme) =
        raw_key::spki(&public).zip(raw_key::scheme(public.alg())).ok_or(TransportError::Identity(public.alg()))?;
    let key = TlsIdentity { spki: spki.into(), alg: public.alg(), scheme, key: identity.clone() };
    // `keys_match` would parse X.509, hence the constructor that does not check.
    Ok(Arc::new(CertifiedKey::new(vec![CertificateDer::from(key.spki.to_vec())], Arc::new(key))))
}

/// The seam between [`IdentityKey`] and rustls.
#[derive(Debug, Clone)]
struct TlsIdentity {
    key: Arc<dyn IdentityKey>,
    spki: Arc<[u8]>,
    alg: AlgId,
    scheme: (SignatureScheme, SignatureAlgorithm),
}

impl SigningKey for TlsIdentity {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&self.scheme.0).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(&self.spki[..]))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.scheme.1
    }
}

impl Signer for TlsIdentity {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let signature = self.key.sign(message).map_err(|fault| {
            tracing::error!(%fault, "transport.identity: the handshake could not be signed");
            rustls::Error::Other(rustls::OtherError(Arc::new(fault)))
        })?;
        Ok(raw_key::tls_signature(self.alg, signature))
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme.0
    }
}

/// Accepts a raw key by membership and a signature by that key. Serves both directions.
struct RawKeyVerifier {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

impl RawKeyVerifier {
    fn new(trust: Trust, provider: &CryptoProvider) -> Self {
        Self { trust, algorithms: provider.signature_verification_algorithms }
    }

    fn check(&self, spki: &[u8]) -> Result<(), rustls::Error> {
        let key = raw_key::key_of(spki).ok_or(CertificateError::BadEncoding)?;
        match &self.trust {
            Trust::Any => Ok(()),
            Trust::Pinned(keys) if keys.contains(&key) => Ok(()),
            // Sent to the other end as the alert `access_denied`.
            Trust::Pinned(_) => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        spki: &[u8],
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature_with_raw_key(message, &SubjectPublicKeyInfoDer::from(spki), signature, &self.algorithms)
    }
}

impl fmt::Debug for RawKeyVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawKeyVerifier")
    }
}

/// TLS 1.2 is not compiled in; should it ever be asked for, the answer is no.
fn no_tls12() -> rustls::Error {
    rustls::Error::PeerIncompatible(rustls::PeerIncompatible::Tls13RequiredForQuic)
}

impl ServerCertVerifier for RawKeyVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        raw_key::SCHEMES.to_vec()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for RawKeyVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        raw_key::SCHEMES.to_vec()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
