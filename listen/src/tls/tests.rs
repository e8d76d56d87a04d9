//! The acceptor with required and optional client certificates, new CAs and unusable files.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig,
    pki_types::{PrivatePkcs8KeyDer, ServerName},
};
use std::{error::Error as _, fs};
use tokio::io::duplex;
use tokio_rustls::TlsConnector;

type Ca = CertifiedIssuer<'static, KeyPair>;

const PROTOCOLS: &[&[u8]] = &[b"h2"];

fn ca() -> Ca {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn roots(ca: &Ca) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    roots
}

/// Returns a certificate of a CA, with its key.
fn issue(ca: &Ca) -> (rcgen::Certificate, KeyPair) {
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, ca).unwrap(), key)
}

/// A folder with the files of a server.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, ca: &Ca) -> Self {
        let path = std::env::temp_dir().join(format!("tracejob-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let folder = Self(path);
        let (certificate, key) = issue(ca);
        fs::write(folder.files().certificate, certificate.pem()).unwrap();
        fs::write(folder.files().key, key.serialize_pem()).unwrap();
        fs::write(folder.ca(), ca.pem()).unwrap();
        folder
    }

    fn files(&self) -> Files {
        Files {
            certificate: self.0.join("tls.crt"),
            key: self.0.join("tls.key"),
        }
    }

    fn ca(&self) -> PathBuf {
        self.0.join("ca.crt")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Connects a client that trusts `server_ca`, and returns the result of the server.
async fn connect(
    acceptor: &Acceptor,
    server_ca: &Ca,
    client: Option<(rcgen::Certificate, KeyPair)>,
) -> io::Result<Option<CertificateDer<'static>>> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots(server_ca));
    let config = match client {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
            let chain = vec![certificate.der().clone()];
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let (near, far) = duplex(16 << 10);
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let (accepted, _) = tokio::join!(acceptor.accept(near), connector.connect(name, far));
    accepted.map(|(_, certificate)| certificate)
}

#[tokio::test]
async fn a_required_client_certificate_is_returned_and_its_absence_is_an_error() {
    let ca = ca();
    let folder = Folder::new("required", &ca);
    let clients = Clients::Required(folder.ca());
    let acceptor = Acceptor::read(folder.files(), clients, PROTOCOLS).unwrap();
    let client = issue(&ca);
    let expected = client.0.der().clone();
    let accepted = connect(&acceptor, &ca, Some(client)).await.unwrap();
    assert_eq!(accepted, Some(expected));
    assert!(connect(&acceptor, &ca, None).await.is_err());
}

#[tokio::test]
async fn new_client_cas_replace_the_old_ones_and_a_client_without_a_certificate_is_accepted() {
    let (ca, old, new) = (ca(), ca(), ca());
    let folder = Folder::new("optional", &ca);
    let (sender, receiver) = watch::channel(Arc::new(roots(&old)));
    let clients = Clients::Optional(receiver);
    let acceptor = Acceptor::read(folder.files(), clients, PROTOCOLS).unwrap();
    assert_eq!(connect(&acceptor, &ca, None).await.unwrap(), None);
    assert!(connect(&acceptor, &ca, Some(issue(&old))).await.is_ok());
    assert!(connect(&acceptor, &ca, Some(issue(&new))).await.is_err());
    sender.send_replace(Arc::new(roots(&new)));
    let replaced = async {
        while connect(&acceptor, &ca, Some(issue(&new))).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = acceptor.follow() => unreachable!("it runs until it is dropped"),
        () = replaced => {}
    }
    assert!(connect(&acceptor, &ca, Some(issue(&old))).await.is_err());
}

#[test]
fn unusable_files_are_errors_that_name_the_file() {
    let ca = ca();
    let folder = Folder::new("unusable", &ca);
    let error = || {
        let clients = Clients::Required(folder.ca());
        let error = Acceptor::read(folder.files(), clients, PROTOCOLS).unwrap_err();
        (error.to_string(), error.source().unwrap().to_string())
    };
    fs::write(folder.ca(), "no certificate").unwrap();
    let wanted = format!(
        "cannot read client CA certificates from {}",
        folder.ca().display()
    );
    assert_eq!(error(), (wanted, "no items found".to_owned()));
    let Files { certificate, key } = folder.files();
    fs::write(folder.ca(), ca.pem()).unwrap();
    fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let (message, _) = error();
    let wanted = format!(
        "cannot use certificate {} with key {}",
        certificate.display(),
        key.display()
    );
    assert_eq!(message, wanted);
    fs::remove_file(&certificate).unwrap();
    let (message, source) = error();
    let wanted = format!("cannot read certificates from {}", certificate.display());
    assert_eq!(message, wanted);
    assert!(source.contains("No such file or directory"), "{source}");
}
