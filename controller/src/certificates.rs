//! The cluster's own certificates: an authority, the certificates that the agents and the gateway mount, and the controller's certificate,
//! which stays in memory. The leader renews them.

use anyhow::{Context as _, Result};
use fleet::Identity;
use k8s_openapi::{
    ByteString, api::core::v1::Secret, kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::json;
use std::collections::BTreeMap;
use time::{Duration, OffsetDateTime};

use crate::reconcile::MANAGER;

/// The Secret of the authority. Only the controller reads it.
const CA: &str = "tracejob-ca";
/// The Secret that agents mount.
const AGENTS: &str = "tracejob-agent-tls";
/// The Secret that the gateway mounts.
const GATEWAY: &str = "tracejob-gateway-tls";
/// Name of the APIService that routes requests to the gateway.
const API: &str = "v1alpha1.subresources.tracejob.dev";
/// Name of the controller. Agents identify controller and gateway by the URI of their service account.
const CONTROLLER_NAME: &str = "tracejob-controller";
/// Time at which a certificate was signed, in seconds since 1970.
const SIGNED: &str = "tracejob.dev/signed";
/// Names of a certificate, as in [`Names`].
const NAMES: &str = "tracejob.dev/names";
/// Lifetime of certificates, and the age at which they are renewed. Agents have the rest of the lifetime to load the new one.
const VALID: Duration = Duration::days(90);
const RENEW: Duration = Duration::days(60);
const CA_VALID: Duration = Duration::days(3650);
/// Tolerance for clocks that differ.
const BEFORE: Duration = Duration::hours(1);

/// Names in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Names {
    /// DNS names. The first one is the common name.
    dns: Vec<String>,
    /// SPIFFE ID of the account that calls agents; `None` for a server certificate.
    account: Option<String>,
}

impl Names {
    /// Returns the names of a program of this release that calls agents.
    fn of_caller(namespace: &str, name: &str, dns: &[String]) -> Self {
        Self {
            dns: dns.to_vec(),
            account: Some(format!("spiffe://tracejob.dev/ns/{namespace}/sa/{name}")),
        }
    }

    /// Returns the names as one text.
    fn text(&self) -> String {
        let all = self.dns.iter().chain(&self.account);
        all.map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

/// Creates or renews certificates that are missing or old, and issues one for the controller. `gateway` is the gateway's service, if any.
pub(crate) async fn ensure(
    client: &Client,
    namespace: &str,
    agent_name: &str,
    gateway: Option<&str>,
) -> Result<Identity> {
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
    let (ca, key) = authority(&secrets)
        .await
        .with_context(|| format!("Secret {CA}"))?;
    let issuer = Issuer::from_ca_cert_pem(&ca, KeyPair::from_pem(&key)?)
        .with_context(|| format!("Secret {CA}"))?;
    let agents = Names {
        dns: vec![agent_name.to_owned()],
        account: None,
    };
    renew(&secrets, AGENTS, &ca, &issuer, &agents).await?;
    if let Some(gateway) = gateway {
        // Agents identify it by its name, the API server by its service.
        let dns = [gateway.to_owned(), format!("{gateway}.{namespace}.svc")];
        let names = Names::of_caller(namespace, gateway, &dns);
        renew(&secrets, GATEWAY, &ca, &issuer, &names).await?;
        vouch(client, &ca).await?;
    }
    let dns = [CONTROLLER_NAME.to_owned()];
    let names = Names::of_caller(namespace, CONTROLLER_NAME, &dns);
    let (certificate, key) = sign(&issuer, &names)?;
    Ok(Identity {
        ca,
        certificate,
        key,
    })
}

/// Renews the certificate in a Secret if it is missing or old.
async fn renew(
    secrets: &Api<Secret>,
    name: &'static str,
    ca: &str,
    issuer: &Issuer<'_, KeyPair>,
    names: &Names,
) -> Result<()> {
    let known = secrets.get_opt(name).await?;
    let fresh = |secret: &Secret| is_fresh(secret, ca, names);
    if known.as_ref().is_some_and(fresh) {
        return Ok(());
    }
    let (certificate, key) = sign(issuer, names)?;
    let files = [("ca.crt", ca), ("tls.crt", &certificate), ("tls.key", &key)];
    let params = PatchParams::apply(MANAGER).force();
    let secret = secret(name, files, Some(names));
    let applied = secrets.patch(name, &params, &Patch::Apply(&secret)).await;
    applied.with_context(|| format!("Secret {name}"))?;
    tracing::info!(secret = name, "certificate issued");
    Ok(())
}

/// Registers the CA of the gateway's certificate with the API server.
async fn vouch(client: &Client, ca: &str) -> Result<()> {
    let services = Api::<APIService>::all(client.clone());
    let patch = json!({"spec": {"caBundle": ByteString(ca.as_bytes().to_vec())}});
    let params = PatchParams::apply(MANAGER);
    match services.patch(API, &params, &Patch::Merge(patch)).await {
        // The gateway is not installed.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        patched => patched
            .map(drop)
            .with_context(|| format!("APIService {API}")),
    }
}

async fn authority(secrets: &Api<Secret>) -> Result<(String, String)> {
    let known = match secrets.get_opt(CA).await? {
        Some(known) => known,
        None => {
            let (certificate, key) = new_authority()?;
            let new = secret(
                CA,
                [("ca.crt", &certificate), ("ca.key", &key), ("", "")],
                None,
            );
            match secrets.create(&PostParams::default(), &new).await {
                // A previous leader was faster.
                Err(kube::Error::Api(status)) if status.code == 409 => secrets.get(CA).await?,
                created => created?,
            }
        }
    };
    let text = |name: &str| -> Result<String> {
        let data = known.data.as_ref().and_then(|data| data.get(name));
        let data = data.with_context(|| format!("the Secret has no {name}"))?;
        Ok(String::from_utf8(data.0.clone())?)
    };
    Ok((text("ca.crt")?, text("ca.key")?))
}

fn new_authority() -> Result<(String, String)> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, CA);
    let now = OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now - BEFORE, now + CA_VALID);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// Issues a certificate for a server, which is also a client certificate if it has an account.
fn sign(issuer: &Issuer<'_, KeyPair>, names: &Names) -> Result<(String, String)> {
    let mut params = CertificateParams::new(names.dns.as_slice())?;
    let first = names.dns.first().map_or("", String::as_str);
    params.distinguished_name.push(DnType::CommonName, first);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    if let Some(account) = &names.account {
        let uri = SanType::URI(account.as_str().try_into()?);
        params.subject_alt_names.push(uri);
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        params.extended_key_usages.push(usage);
    }
    let now = OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now - BEFORE, now + VALID);
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// Returns whether a certificate was issued by this authority for these names, and is valid for long enough.
fn is_fresh(secret: &Secret, ca: &str, names: &Names) -> bool {
    let meant = secret.annotations().get(NAMES) == Some(&names.text());
    let signed = secret.annotations().get(SIGNED);
    let signed = signed.and_then(|text| text.parse().ok());
    let signed = signed.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    let data = secret.data.as_ref();
    let same = data
        .and_then(|data| data.get("ca.crt"))
        .is_some_and(|known| known.0 == ca.as_bytes());
    let whole =
        data.is_some_and(|data| data.contains_key("tls.crt") && data.contains_key("tls.key"));
    let now = OffsetDateTime::now_utc();
    same && whole && meant && signed.is_some_and(|signed| signed <= now && now - signed < RENEW)
}

fn secret(name: &str, files: [(&str, &str); 3], names: Option<&Names>) -> Secret {
    let files = files.into_iter().filter(|(name, _)| !name.is_empty());
    let files = files.map(|(name, text)| (name.to_owned(), ByteString(text.as_bytes().to_vec())));
    let mut secret = Secret {
        data: Some(files.collect()),
        ..Secret::default()
    };
    secret.metadata.name = Some(name.to_owned());
    let signed = OffsetDateTime::now_utc().unix_timestamp().to_string();
    let mut annotations = BTreeMap::from([(SIGNED.to_owned(), signed)]);
    if let Some(names) = names {
        annotations.insert(NAMES.to_owned(), names.text());
    }
    secret.metadata.annotations = Some(annotations);
    secret
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::extensions::GeneralName;

    fn agents() -> Names {
        Names {
            dns: vec!["tracejob-agent".to_owned()],
            account: None,
        }
    }

    #[test]
    fn a_certificate_is_renewed_when_it_is_old_of_another_authority_or_for_another_name() {
        let (ca, _) = new_authority().unwrap();
        let (other, _) = new_authority().unwrap();
        let mut known = secret(
            AGENTS,
            [("ca.crt", &ca), ("tls.crt", "c"), ("tls.key", "k")],
            Some(&agents()),
        );
        let gateway = Names::of_caller("ns", "tracejob-gateway", &["tracejob-agent".to_owned()]);
        assert!(!is_fresh(&known, &ca, &gateway));
        assert!(is_fresh(&known, &ca, &agents()));
        assert!(!is_fresh(&known, &other, &agents()));
        let aged = |secret: &mut Secret, days: i64| {
            let at = OffsetDateTime::now_utc() - Duration::days(days);
            let annotations = secret.metadata.annotations.as_mut().unwrap();
            annotations.insert(SIGNED.to_owned(), at.unix_timestamp().to_string());
        };
        aged(&mut known, 59);
        assert!(is_fresh(&known, &ca, &agents()));
        aged(&mut known, 61);
        assert!(!is_fresh(&known, &ca, &agents()));
        // Issued in the future: a clock was wrong.
        aged(&mut known, -1);
        assert!(!is_fresh(&known, &ca, &agents()));
        let half = secret(
            AGENTS,
            [("ca.crt", &ca), ("tls.crt", "c"), ("", "")],
            Some(&agents()),
        );
        assert!(!is_fresh(&half, &ca, &agents()));
    }

    #[test]
    fn what_is_signed_is_signed_by_the_authority_for_its_names_and_uses() {
        let (ca, key) = new_authority().unwrap();
        let issuer = Issuer::from_ca_cert_pem(&ca, KeyPair::from_pem(&key).unwrap()).unwrap();
        let caller = Names::of_caller("ns", CONTROLLER_NAME, &[CONTROLLER_NAME.to_owned()]);
        let uri = "spiffe://tracejob.dev/ns/ns/sa/tracejob-controller";
        for (names, wanted, calls) in [
            (agents(), vec!["tracejob-agent"], false),
            (caller, vec![CONTROLLER_NAME, uri], true),
        ] {
            let (certificate, _) = sign(&issuer, &names).unwrap();
            let parse = |pem: &str| x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap().1;
            let (ca, certificate) = (parse(&ca), parse(&certificate));
            let (ca, certificate) = (ca.parse_x509().unwrap(), certificate.parse_x509().unwrap());
            assert_eq!(certificate.issuer(), ca.subject());
            let names = certificate.subject_alternative_name().unwrap().unwrap();
            let names = names.value.general_names.iter().map(|name| match name {
                GeneralName::DNSName(name) | GeneralName::URI(name) => *name,
                other => panic!("{other:?}"),
            });
            assert_eq!(names.collect::<Vec<_>>(), wanted);
            let uses = certificate.extended_key_usage().unwrap().unwrap().value;
            assert_eq!((uses.server_auth, uses.client_auth), (true, calls));
            let left = certificate.validity().time_to_expiration().unwrap();
            assert!(left.whole_days() >= 89, "{left}");
        }
    }
}
