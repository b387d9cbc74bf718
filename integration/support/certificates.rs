//! Certificates made for a test: an authority nobody else knows, and what it issues.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

/// An authority; its files lie in a folder that goes with it.
pub struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// From when to when a certificate is valid, both the first of a January.
pub const VALID: (i32, i32) = (2020, 2100);

impl Authority {
    /// A fresh one.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "an authority of tests");
        (params.not_before, params.not_after) = (date_time_ymd(VALID.0, 1, 1), date_time_ymd(VALID.1, 1, 1));
        fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self {
            folder,
            issuer: Issuer::new(params, key),
        }
    }

    /// Its own certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Writes a certificate for these names and its key as `NAME.pem` and `NAME.key` into a folder; its DER.
    pub fn issue(&self, into: &Path, name: &str, names: &[&str], valid: (i32, i32)) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "a server of tests");
        (params.not_before, params.not_after) = (date_time_ymd(valid.0, 1, 1), date_time_ymd(valid.1, 1, 1));
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let place = |kind: &str| into.join(format!("{name}.{kind}"));
        fs::write(place("key"), key.serialize_pem()).unwrap();
        fs::set_permissions(place("key"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(place("pem"), certificate.pem()).unwrap();
        certificate.der().to_vec()
    }

    /// Writes a certificate that its own key signed, as `openssl req -x509` makes it: an authority's.
    pub fn self_signed(into: &Path, name: &str, names: &[&str]) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let place = |kind: &str| into.join(format!("{name}.{kind}"));
        fs::write(place("key"), key.serialize_pem()).unwrap();
        fs::set_permissions(place("key"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(place("pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    }

    /// Directives with which nginx also listens at `addr` by TLS, as a server of these names.
    pub fn nginx(&self, addr: std::net::SocketAddr, names: &[&str]) -> String {
        let folder = self.folder.path();
        self.issue(folder, "nginx", names, VALID);
        let folder = folder.display();
        format!("listen {addr} ssl; ssl_certificate {folder}/nginx.pem; ssl_certificate_key {folder}/nginx.key;")
    }
}
