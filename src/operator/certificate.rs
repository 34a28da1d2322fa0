//! What the server of the metrics proves itself by: a certificate from files, which whoever renews it replaces while the process
//! runs, as the kubelet does in a mounted Secret; or one that is made at the start. What is broken never replaces what works.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// How often the files are looked at: the kubelet itself needs about a minute for a changed Secret.
const LOOK: Duration = Duration::from_secs(10);

/// What puts right whatever is wrong with the files.
const REMEDY: &str = "put there what a TLS Secret has as `tls.crt`, the certificate and those it is signed by, and as `tls.key`, its \
     unencrypted private key, in PEM";

/// Where the certificate of the metrics is.
#[derive(Debug, Clone)]
pub enum Certificate {
    /// In files, as `tls.crt` and `tls.key` of a Secret that is mounted.
    Files(Files),
    /// Made at the start, and signed by nobody: the traffic is encrypted, the server not proved.
    SelfSigned,
}

/// The files of a certificate.
#[derive(Debug, Clone)]
pub struct Files {
    /// The chain, PEM.
    pub chain: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

impl Certificate {
    /// The certificate, kept up to date until the process ends. Fails when it cannot be had.
    pub async fn load(self) -> Result<RustlsConfig, String> {
        match self {
            Self::Files(files) => {
                let look = files.look();
                let config = RustlsConfig::from_config(Arc::new(look.config?));
                tokio::spawn(follow(files, config.clone(), look.state));
                Ok(config)
            }
            Self::SelfSigned => self_signed().await,
        }
    }
}

async fn self_signed() -> Result<RustlsConfig, String> {
    let made = rcgen::generate_simple_self_signed(["amigo-operator".to_owned(), "localhost".to_owned()])
        .map_err(|error| format!("a certificate for the metrics cannot be made: {error}"))?;
    let (chain, key) = (made.cert.pem().into_bytes(), made.signing_key.serialize_pem().into_bytes());
    let loaded = RustlsConfig::from_pem(chain, key).await;
    loaded.map_err(|error| format!("the certificate that was made for the metrics cannot be used: {error}"))
}

/// Serves what is in the files now, whenever that has changed. A look between the replacement of one file and that of the other
/// finds a pair that does not match; the next one finds the new pair.
async fn follow(files: Files, config: RustlsConfig, mut state: [u8; 32]) {
    loop {
        tokio::time::sleep(LOOK).await;
        let look = files.look();
        if look.state == state {
            continue;
        }
        state = look.state;
        match look.config {
            Ok(renewed) => {
                config.reload_from_config(Arc::new(renewed));
                tracing::info!(file = %files.chain.display(), "the certificate of the metrics has been renewed");
            }
            Err(error) => tracing::warn!(
                %error,
                again_seconds = LOOK.as_secs(),
                "the certificate of the metrics cannot be renewed; the one before serves on"
            ),
        }
    }
}

/// What a look at the files has found.
struct Look {
    /// Tells contents apart, also those that are broken, so that each is told of once.
    state: [u8; 32],
    config: Result<ServerConfig, String>,
}

impl Files {
    fn look(&self) -> Look {
        let (chain, key) = (std::fs::read(&self.chain), std::fs::read(&self.key).map(Zeroizing::new));
        let mut state = Sha256::new();
        for content in [chain.as_ref().map(Vec::as_slice), key.as_ref().map(|key| key.as_slice())] {
            let content = content.map_err(ToString::to_string);
            state.update(Sha256::digest(content.unwrap_or(b"unreadable")));
        }
        let config = chain.map_err(|error| self.chain(&format!("cannot be read: {error}"))).and_then(|chain| {
            let key = key.map_err(|error| self.key(&format!("cannot be read: {error}")))?;
            self.config(&chain, &key)
        });
        Look { state: state.finalize().into(), config: config.map_err(|error| format!("{error}; {REMEDY}")) }
    }

    fn config(&self, chain: &[u8], key: &[u8]) -> Result<ServerConfig, String> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|error| self.chain(&not_pem(&error)))?;
        if chain.is_empty() {
            return Err(self.chain("holds no certificate"));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            pem::Error::NoItemsFound => self.key("holds no unencrypted private key"),
            error => self.key(&not_pem(&error)),
        })?;
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
        let mut config = config.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                self.key(&format!("does not belong to the certificate in {}", self.chain.display()))
            }
            error => self.chain(&format!("cannot be used with {}: {error}", self.key.display())),
        })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    fn chain(&self, what: &str) -> String {
        format!("--metrics-cert-file {} {what}", self.chain.display())
    }

    fn key(&self, what: &str) -> String {
        format!("--metrics-key-file {} {what}", self.key.display())
    }
}

/// The text of a broken file may be a key's: nothing of it is shown.
fn not_pem(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "is cut off".to_owned(),
        _ => "is not PEM".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate and its key.
    fn made() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["metrics".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_broken_file_is_named_with_what_to_do_and_nothing_of_a_key_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files { chain: folder.path().join("tls.crt"), key: folder.path().join("tls.key") };
        let ((chain, key), (_, other)) = (made(), made());
        let cut = |text: &str| text[..text.len() / 2].to_owned();
        let garbled = |text: &str| text.replace('M', "*");
        let (cut_chain, cut_key, garbled_key) = (cut(&chain), cut(&key), garbled(&key));
        for (in_chain, in_key, said) in [
            (None, Some(&key), "--metrics-cert-file FOLDER/tls.crt cannot be read: "),
            (Some(&chain), None, "--metrics-key-file FOLDER/tls.key cannot be read: "),
            (Some(&String::new()), Some(&key), "--metrics-cert-file FOLDER/tls.crt holds no certificate;"),
            (Some(&key), Some(&key), "--metrics-cert-file FOLDER/tls.crt holds no certificate;"),
            (Some(&cut_chain), Some(&key), "--metrics-cert-file FOLDER/tls.crt is cut off;"),
            (Some(&chain), Some(&chain), "--metrics-key-file FOLDER/tls.key holds no unencrypted private key;"),
            (Some(&chain), Some(&cut_key), "--metrics-key-file FOLDER/tls.key is cut off;"),
            (Some(&chain), Some(&garbled_key), "--metrics-key-file FOLDER/tls.key is not PEM;"),
            (
                Some(&chain),
                Some(&other),
                "--metrics-key-file FOLDER/tls.key does not belong to the certificate in FOLDER/tls.crt;",
            ),
        ] {
            for (path, content) in [(&files.chain, in_chain), (&files.key, in_key)] {
                let _ = std::fs::remove_file(path);
                if let Some(content) = content {
                    std::fs::write(path, content).unwrap();
                }
            }
            let error = files.look().config.unwrap_err();
            let shown = error.replace(folder.path().to_str().unwrap(), "FOLDER");
            assert!(shown.starts_with(said) && shown.ends_with(REMEDY), "{said}: {shown}");
            let of_the_key = key.lines().nth(1).unwrap();
            assert!(!error.contains(&of_the_key[..8]), "{error}");
        }
    }

    #[test]
    fn what_is_in_the_files_is_told_apart_and_taken_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files { chain: folder.path().join("tls.crt"), key: folder.path().join("tls.key") };
        let missing = files.look().state;
        assert_eq!(files.look().state, missing, "nothing has changed");
        let mut states = vec![missing];
        for (chain, key) in [made(), made()] {
            std::fs::write(&files.chain, &chain).unwrap();
            std::fs::write(&files.key, &key).unwrap();
            let look = files.look();
            assert!(look.config.is_ok() && !states.contains(&look.state));
            states.push(look.state);
        }
        std::fs::remove_file(&files.key).unwrap();
        assert!(!states.contains(&files.look().state));
    }
}
