//! The certificates of a control plane: one authority for servers, one for clients, and the service-account signer.
//!
//! Kubernetes reads a client certificate as a user: CN is the name, each O is a group.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::error::{Error, file_error};

/// The address of the Service `kubernetes`, the first of the range of Services. Nothing leads to it here; who makes something
/// lead to it meets a server that proves its name.
pub const SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

const SERVING_CA: &str = "amigo-test-serving-ca";
const CLIENT_CA: &str = "amigo-test-client-ca";

/// The folder of the certificates. kube-apiserver finds `apiserver.crt` and `apiserver.key` by their names.
#[derive(Debug, Clone)]
pub(crate) struct Certificates {
    folder: PathBuf,
}

/// The files of one client certificate.
#[derive(Debug)]
pub(crate) struct ClientFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Certificates {
    /// The certificates that [`Self::create`] has made in this folder, perhaps in another process.
    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Makes the authorities, the certificate of the API server and the service-account signer.
    pub fn create(&self) -> Result<(), Error> {
        fs::create_dir_all(&self.folder).map_err(file_error("create", &self.folder))?;
        self.create_authority(CLIENT_CA, "client-ca")?;
        let serving = self.create_authority(SERVING_CA, "serving-ca")?;
        let mut server = leaf(name("localhost", &[]), ExtendedKeyUsagePurpose::ServerAuth);
        let localhost = "localhost".try_into().map_err(certificate_error("localhost"))?;
        let addresses = [Ipv4Addr::LOCALHOST, SERVICE_ADDRESS].map(|address| SanType::IpAddress(address.into()));
        server.subject_alt_names = [SanType::DnsName(localhost)].into_iter().chain(addresses).collect();
        sign(&server, &serving, &self.folder.join("apiserver.crt"), &self.folder.join("apiserver.key"))?;
        let signer = new_key("service-account signer")?;
        write_private(&self.service_account_key(), &signer.serialize_pem())?;
        write_private(&self.service_account_public_key(), &signer.public_key_pem())
    }

    /// Makes a client certificate in this folder: `client.crt` and `client.key`.
    pub fn issue_client(&self, folder: &Path, user: &str, groups: &[&str]) -> Result<ClientFiles, Error> {
        if groups.len() > 2 {
            return Err(Error::TooManyGroups { user: user.to_owned(), count: groups.len() });
        }
        let key_path = self.folder.join("client-ca.key");
        let key = fs::read_to_string(&key_path).map_err(file_error("read", &key_path))?;
        let key = KeyPair::from_pem(&key).map_err(certificate_error(CLIENT_CA))?;
        let authority = Issuer::new(authority(CLIENT_CA), key);
        let files = ClientFiles { certificate: folder.join("client.crt"), key: folder.join("client.key") };
        let client = leaf(name(user, groups), ExtendedKeyUsagePurpose::ClientAuth);
        sign(&client, &authority, &files.certificate, &files.key)?;
        Ok(files)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn serving_ca(&self) -> PathBuf {
        self.folder.join("serving-ca.crt")
    }

    pub fn client_ca(&self) -> PathBuf {
        self.folder.join("client-ca.crt")
    }

    pub fn service_account_key(&self) -> PathBuf {
        self.folder.join("service-account.key")
    }

    pub fn service_account_public_key(&self) -> PathBuf {
        self.folder.join("service-account.pub")
    }

    fn create_authority(&self, subject: &str, file: &str) -> Result<Issuer<'static, KeyPair>, Error> {
        let key = new_key(subject)?;
        let params = authority(subject);
        let certificate = params.self_signed(&key).map_err(certificate_error(subject))?;
        write_private(&self.folder.join(file).with_extension("crt"), &certificate.pem())?;
        write_private(&self.folder.join(file).with_extension("key"), &key.serialize_pem())?;
        Ok(Issuer::new(params, key))
    }
}

fn authority(subject: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(subject, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params
}

fn leaf(name: DistinguishedName, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params
}

fn name(common_name: &str, groups: &[&str]) -> DistinguishedName {
    // rcgen keeps one value per kind of attribute. The second group goes in under the number that O stands for, which
    // rcgen takes for another kind and Kubernetes for another O.
    let organizations = [DnType::OrganizationName, DnType::CustomDnType(vec![2, 5, 4, 10])];
    let mut name = DistinguishedName::new();
    for (kind, group) in organizations.into_iter().zip(groups) {
        name.push(kind, *group);
    }
    name.push(DnType::CommonName, common_name);
    name
}

fn new_key(subject: &str) -> Result<KeyPair, Error> {
    KeyPair::generate().map_err(certificate_error(subject))
}

fn sign(params: &CertificateParams, by: &Issuer<'_, KeyPair>, crt: &Path, key_path: &Path) -> Result<(), Error> {
    let key = new_key("leaf")?;
    let certificate = params.signed_by(&key, by).map_err(certificate_error("leaf"))?;
    write_private(crt, &certificate.pem())?;
    write_private(key_path, &key.serialize_pem())
}

/// Writes a file that only its owner can read.
pub(crate) fn write_private(path: &Path, content: &str) -> Result<(), Error> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(content.as_bytes()));
    written.map_err(file_error("write", path))
}

fn certificate_error(subject: &str) -> impl FnOnce(rcgen::Error) -> Error {
    let subject = subject.to_owned();
    move |source| Error::Certificate { subject, source }
}
