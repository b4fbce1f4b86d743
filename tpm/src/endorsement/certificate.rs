//! Whether an endorsement certificate leads to a root that the verifier trusts, and the key in it.
//!
//! What holds: the chain and its validity (RFC 5280, by webpki), and that the certificate is for endorsement keys (extended key
//! usage tcg-kp-EKCertificate, 2.23.133.8.1), which keeps keys that a maker certifies for anything else out. A subject
//! alternative name may be critical, as the profile demands where the subject is empty. Not looked at: revocation, the
//! maker's and model's names in it, key usage.

use super::{Certificate, Slot};
use aws_lc_rs::rsa::PublicEncryptingKey;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use std::fmt;
use std::time::{Duration, SystemTime};
use thiserror::Error;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::ExtendedKeyUsage;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

/// tcg-kp-EKCertificate.
const EK_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.8.1");
/// The same, as webpki compares it: the content of its encoding.
const EK_CERTIFICATE_DER: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// id-RSAES-OAEP, with which some makers mark the same keys.
const RSA_OAEP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.7");
const CURVE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// Why a certificate is worth nothing.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// It is none.
    #[error("it is no X.509 certificate: {0}")]
    Malformed(x509_cert::der::Error),
    /// It does not lead to one of the roots, or something on the way is wrong or out of date.
    #[error("it does not lead to a root that is trusted: {0}")]
    Chain(webpki::Error),
    /// It is not for an endorsement key.
    #[error("it is not a certificate of an endorsement key (extended key usage 2.23.133.8.1)")]
    Purpose,
    /// Its key is not of the kind that its place in the TPM is for.
    #[error("its key is not of the kind that it should be ({0})")]
    Key(Slot),
    /// The clock is before 1970.
    #[error("the clock is wrong")]
    Clock,
    /// Roots of which one is none.
    #[error("no certificates in PEM: {0}")]
    Pem(pem::Error),
    /// A certificate that is no root.
    #[error("a root that cannot be used: {0}")]
    Root(webpki::Error),
}

/// The makers that are trusted.
#[derive(Clone, Default)]
pub struct Roots {
    anchors: Vec<TrustAnchor<'static>>,
    /// Certificates on the way, which makers publish and TPMs seldom have. They are believed nothing.
    between: Vec<CertificateDer<'static>>,
}

/// A certified endorsement key.
#[derive(Clone, Debug)]
pub struct Endorsed {
    /// Its kind.
    pub slot: Slot,
    /// As the certificate has it.
    pub(super) key: EndorsementKey,
    /// Whom the certificate is from, for a reader.
    pub issuer: String,
}

#[derive(Clone, Debug)]
pub(super) enum EndorsementKey {
    /// SubjectPublicKeyInfo with the plain algorithm.
    Rsa(Vec<u8>),
    /// An uncompressed point.
    Curve(Vec<u8>),
}

impl Roots {
    /// Trusts the certificates of a PEM text.
    ///
    /// # Errors
    /// [`CertificateError::Pem`], [`CertificateError::Root`].
    pub fn trust(&mut self, pem: &[u8]) -> Result<(), CertificateError> {
        for certificate in read_pem(pem)? {
            let anchor = anchor_from_trusted_cert(&certificate).map_err(CertificateError::Root)?;
            self.anchors.push(anchor.to_owned());
        }
        Ok(())
    }

    /// Takes the certificates of a PEM text for steps between a root and a TPM.
    ///
    /// # Errors
    /// [`CertificateError::Pem`].
    pub fn know(&mut self, pem: &[u8]) -> Result<(), CertificateError> {
        self.between.extend(read_pem(pem)?);
        Ok(())
    }

    /// The key of a certificate that leads to a root at this time, by what makers publish and by the chain that came with it.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn verify(
        &self,
        certificate: &Certificate,
        chain: &[Vec<u8>],
        now: SystemTime,
    ) -> Result<Endorsed, CertificateError> {
        let parsed = x509_cert::Certificate::from_der(&certificate.der).map_err(CertificateError::Malformed)?;
        let now = now.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| CertificateError::Clock)?;
        self.lead(certificate, chain, now)?;
        let tbs = parsed.tbs_certificate();
        // Authorities on the way may lack it, so it is not demanded of the whole chain.
        let purposes = tbs.get_extension::<ExtendedKeyUsage>().map_err(CertificateError::Malformed)?;
        if !purposes.is_some_and(|(_, purposes)| purposes.0.contains(&EK_CERTIFICATE)) {
            return Err(CertificateError::Purpose);
        }
        let key = key(certificate.slot, tbs.subject_public_key_info());
        let key = key.ok_or(CertificateError::Key(certificate.slot))?;
        Ok(Endorsed { slot: certificate.slot, key, issuer: tbs.issuer().to_string() })
    }

    fn lead(&self, certificate: &Certificate, chain: &[Vec<u8>], now: Duration) -> Result<(), CertificateError> {
        let told = chain.iter().map(|der| CertificateDer::from(&der[..]));
        let between: Vec<_> = self.between.iter().cloned().chain(told).collect();
        let der = CertificateDer::from(&certificate.der[..]);
        let end = EndEntityCert::try_from(&der).map_err(CertificateError::Chain)?;
        let usage = KeyUsage::required_if_present(EK_CERTIFICATE_DER);
        let now = UnixTime::since_unix_epoch(now);
        let verified =
            end.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &self.anchors, &between, now, usage, None, None);
        verified.map(drop).map_err(CertificateError::Chain)
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roots").field("anchors", &self.anchors.len()).field("between", &self.between.len()).finish()
    }
}

/// As they are written: encoded anew, a certificate that is not quite canonical would lose its signature.
fn read_pem(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(CertificateError::Pem)?;
    if found.is_empty() { Err(CertificateError::Pem(pem::Error::NoItemsFound)) } else { Ok(found) }
}

fn key(slot: Slot, info: &SubjectPublicKeyInfoOwned) -> Option<EndorsementKey> {
    let algorithm = &info.algorithm;
    let curve = match slot {
        Slot::Rsa2048 | Slot::Rsa2048High => {
            let rsa = [RSA, RSA_OAEP].contains(&algorithm.oid);
            let plain = AlgorithmIdentifierOwned { oid: RSA, parameters: Some(x509_cert::der::Any::null()) };
            let plain =
                SubjectPublicKeyInfoOwned { algorithm: plain, subject_public_key: info.subject_public_key.clone() };
            let der = plain.to_der().ok().filter(|_| rsa)?;
            let bits = PublicEncryptingKey::from_der(&der).ok()?.key_size_bits();
            return (bits == 2048).then_some(EndorsementKey::Rsa(der));
        }
        Slot::P256 | Slot::P256High => P256,
        Slot::P384High => P384,
    };
    let named: ObjectIdentifier = algorithm.parameters.as_ref()?.decode_as().ok()?;
    let point = info.subject_public_key.as_bytes()?;
    (algorithm.oid == CURVE && named == curve).then(|| EndorsementKey::Curve(point.to_vec()))
}
