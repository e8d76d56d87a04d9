//! Rights of a client by the names in its certificate.

use super::{config::Roles, limits::NAME_BYTES, text::cut};
use anyhow::{Result, anyhow};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Rights of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// All calls.
    Control,
    /// Calls that change nothing.
    Read,
    /// No calls.
    None,
}

impl Roles {
    /// Returns the role of a certificate that the CA has signed, with the name that gives the role.
    ///
    /// # Errors
    /// Where the certificate cannot be parsed.
    pub(crate) fn of(&self, certificate: &CertificateDer<'_>) -> Result<(Role, String)> {
        let (_, parsed) = X509Certificate::from_der(certificate)
            .map_err(|error| anyhow!("the client's certificate cannot be parsed: {error}"))?;
        let extension = parsed.subject_alternative_name();
        let names = extension
            .map_err(|error| {
                anyhow!("the names of the client's certificate cannot be parsed: {error}")
            })?
            .map_or(&[][..], |names| names.value.general_names.as_slice());
        let names: Vec<&str> = names
            .iter()
            .filter_map(|name| match name {
                GeneralName::URI(name) | GeneralName::DNSName(name) => Some(*name),
                _ => None,
            })
            .collect();
        // In the configuration's order: a certificate with the same names in another order is the same caller.
        let listed = |of: &[String]| of.iter().find(|one| names.contains(&one.as_str())).cloned();
        Ok(match (listed(&self.control), listed(&self.read)) {
            (Some(name), _) => (Role::Control, name),
            (None, Some(name)) => (Role::Read, name),
            (None, None) => (Role::None, cut(names.join(" "), NAME_BYTES)),
        })
    }
}
