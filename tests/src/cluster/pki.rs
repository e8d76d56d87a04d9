//! A certificate authority for one test.

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// It signs any certificate, into a folder.
pub struct Pki {
    ca: CertifiedIssuer<'static, KeyPair>,
    /// Name by which servers behind the API server identify it: no other certificate has this name.
    proxies: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

/// Contents of a certificate.
#[derive(Clone, Copy, Debug)]
pub struct Certificate<'a> {
    /// Its file's name, without `.crt` and `.key`.
    pub file: &'a str,
    /// The user, to Kubernetes.
    pub common_name: &'a str,
    /// The user's groups, to Kubernetes.
    pub organizations: &'a [&'a str],
    /// Names and addresses of a server.
    pub names: &'a [&'a str],
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

impl Pki {
    /// One of a folder's own, with what an API server needs: `apiserver` and `accounts.key`; `proxy` for when it calls servers behind it.
    pub fn new(folder: &Path) -> Self {
        let folder = folder.join("pki");
        fs::create_dir_all(&folder).unwrap();
        let pki = Self {
            ca: authority("tracejob-test-ca"),
            proxies: authority("tracejob-test-proxies"),
            folder,
        };
        fs::write(pki.file("ca.crt"), pki.ca.pem()).unwrap();
        fs::write(pki.file("proxies.crt"), pki.proxies.pem()).unwrap();
        pki.sign_by(
            &pki.proxies,
            Certificate {
                file: "proxy",
                common_name: "front-proxy-client",
                organizations: &[],
                names: &[],
            },
        );
        let accounts = KeyPair::generate().unwrap();
        fs::write(pki.file("accounts.key"), accounts.serialize_pem()).unwrap();
        fs::write(pki.file("accounts.pub"), accounts.public_key_pem()).unwrap();
        pki.sign(Certificate {
            file: "apiserver",
            common_name: "kube-apiserver",
            organizations: &[],
            names: &["10.77.0.1", "10.96.0.1", "kubernetes.default.svc"],
        });
        pki
    }

    /// A file of it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Signs a certificate, for servers and clients alike: its files are `NAME.crt` and `NAME.key`.
    pub fn sign(&self, certificate: Certificate<'_>) {
        self.sign_by(&self.ca, certificate);
    }

    fn sign_by(&self, ca: &CertifiedIssuer<'static, KeyPair>, certificate: Certificate<'_>) {
        let names = certificate.names.iter().map(|name| (*name).to_owned());
        let mut params = CertificateParams::new(names.collect::<Vec<_>>()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, certificate.common_name);
        for organization in certificate.organizations {
            params
                .distinguished_name
                .push(DnType::OrganizationName, *organization);
        }
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, ca).unwrap();
        let file = |end: &str| self.file(&format!("{}.{end}", certificate.file));
        fs::write(file("crt"), signed.pem()).unwrap();
        fs::write(file("key"), key.serialize_pem()).unwrap();
    }

    /// Creates a kubeconfig of a user with a certificate: its file is `USER.kubeconfig`, with a dash for what separates files there.
    pub fn kubeconfig(&self, user: &str, groups: &[&str], api: &str) -> PathBuf {
        let file = user.replace(':', "-");
        self.sign(Certificate {
            file: &file,
            common_name: user,
            organizations: groups,
            names: &[],
        });
        let data = |name: &str| STANDARD.encode(fs::read(self.file(name)).unwrap());
        let config = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {
                "server": format!("https://{api}"), "certificate-authority-data": data("ca.crt"),
            }}],
            "users": [{"name": user, "user": {
                "client-certificate-data": data(&format!("{file}.crt")), "client-key-data": data(&format!("{file}.key")),
            }}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
        });
        let path = self.file(&format!("{file}.kubeconfig"));
        fs::write(&path, config.to_string()).unwrap();
        path
    }
}
