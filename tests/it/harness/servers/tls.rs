//! A certificate authority and a server's certificate, made for one server and thrown away with it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::user;
use crate::harness::TestResult;

/// Files in PEM. The server's certificate is for `localhost` and 127.0.0.1.
pub struct Tls {
    pub ca_file: PathBuf,
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
}

impl Tls {
    pub fn make(folder: &Path) -> TestResult<Self> {
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "Creel's tests");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;
        Ok(Self {
            ca_file: write(folder.join("ca.pem"), &authority.pem(), 0o644)?,
            certificate_file: write(folder.join("server.pem"), &certificate.pem(), 0o644)?,
            key_file: write(folder.join("server.key"), &key.serialize_pem(), 0o600)?,
        })
    }
}

fn write(file: PathBuf, text: &str, mode: u32) -> TestResult<PathBuf> {
    std::fs::write(&file, text)?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode))?;
    user::give(&file)?;
    Ok(file)
}
