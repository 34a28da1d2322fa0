//! The way into a control plane: kubeconfigs, kubectl and the audit log.
//!
//! Everything here works from the files of the control plane's folder, so that it also works in another process than
//! the one that owns the servers.

use std::fs;
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::certificates::{Certificates, ClientFiles, write_private};
use crate::error::{Error, file_error};

/// A running control plane, seen from outside.
#[derive(Debug, Clone)]
pub struct Cluster {
    directory: PathBuf,
}

/// How a kubeconfig proves who it is.
pub(crate) enum Credentials<'a> {
    Certificate(&'a ClientFiles),
    TokenFile(&'a Path),
}

impl Cluster {
    /// The control plane of this folder, which some process has started and keeps running.
    #[must_use]
    pub fn at(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The folder that holds everything: data, certificates, logs (`*.log`), kubeconfigs.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A kubeconfig that may do everything (group `system:masters`, which RBAC does not bind). It is for setting a
    /// test up; the operator must never get it, for nothing would then prove its RBAC rules.
    #[must_use]
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.directory.join("admin.kubeconfig")
    }

    /// The authority that signs client certificates, for a server that asks for them, such as the kubelet.
    #[must_use]
    pub fn client_authority(&self) -> PathBuf {
        self.certificates().client_ca()
    }

    /// The audit log: one JSON object a line, at level Metadata, for every request that was answered. The line is
    /// there when the answer is.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.directory.join("audit.log")
    }

    /// A new kubeconfig with a client certificate of this user and these groups (two at most). The user may do what
    /// RBAC allows, which is nothing at first.
    pub fn user_kubeconfig(&self, name: &str, groups: &[&str]) -> Result<PathBuf, Error> {
        let files = self.issue_client(name, groups)?;
        let path = files.certificate.with_file_name("kubeconfig");
        self.write_kubeconfig(&path, &Credentials::Certificate(&files))?;
        Ok(path)
    }

    /// A new kubeconfig with a token of this ServiceAccount, valid for a day, in a file beside it (`token`), where a
    /// test may replace it.
    pub fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf, Error> {
        let token = self.kubectl(&["create", "token", name, "--namespace", namespace, "--duration", "24h"])?;
        let folder = self.credentials_folder(&format!("{namespace}-{name}"))?;
        let token_file = folder.join("token");
        write_private(&token_file, token.trim())?;
        let path = folder.join("kubeconfig");
        self.write_kubeconfig(&path, &Credentials::TokenFile(&token_file))?;
        Ok(path)
    }

    /// Creates a namespace that no other test uses, named after the prefix, and returns its name.
    pub fn create_namespace(&self, prefix: &str) -> Result<String, Error> {
        let manifest = format!("{{apiVersion: v1, kind: Namespace, metadata: {{generateName: {prefix}-}}}}");
        let arguments = ["create", "--filename", "-", "--output", "jsonpath={.metadata.name}"];
        self.kubectl_with_input(&arguments, &manifest)
    }

    /// Runs kubectl as administrator and returns what it prints.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, Error> {
        self.run_kubectl(&self.admin_kubeconfig(), arguments, "")
    }

    /// Runs kubectl as administrator with this standard input, for `--filename -`.
    pub fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Result<String, Error> {
        self.run_kubectl(&self.admin_kubeconfig(), arguments, input)
    }

    /// Runs kubectl as somebody else.
    pub fn kubectl_as(&self, kubeconfig: &Path, arguments: &[&str]) -> Result<String, Error> {
        self.run_kubectl(kubeconfig, arguments, "")
    }

    /// The kubectl of the same version as the servers.
    #[must_use]
    pub fn kubectl_program(&self) -> PathBuf {
        self.directory.join("bin").join("kubectl")
    }

    /// The address of the API server.
    pub fn url(&self) -> Result<String, Error> {
        let path = self.url_file();
        fs::read_to_string(&path).map_err(file_error("read", &path))
    }

    /// The address of etcd, which asks nobody who they are. Its JSON gateway (`/v3/kv/range`) shows what is stored, past
    /// the API server.
    pub fn etcd_url(&self) -> Result<String, Error> {
        let path = self.etcd_url_file();
        fs::read_to_string(&path).map_err(file_error("read", &path))
    }

    pub(crate) fn url_file(&self) -> PathBuf {
        self.directory.join("url")
    }

    pub(crate) fn etcd_url_file(&self) -> PathBuf {
        self.directory.join("etcd-url")
    }

    pub(crate) fn certificates(&self) -> Certificates {
        Certificates::at(self.directory.join("certificates"))
    }

    /// Makes a client certificate in a folder of its own.
    pub(crate) fn issue_client(&self, user: &str, groups: &[&str]) -> Result<ClientFiles, Error> {
        self.certificates().issue_client(&self.credentials_folder(user)?, user, groups)
    }

    /// A new folder for one set of credentials: the same name may be asked for often, also by several processes.
    fn credentials_folder(&self, name: &str) -> Result<PathBuf, Error> {
        let parent = self.directory.join("credentials");
        fs::create_dir_all(&parent).map_err(file_error("create", &parent))?;
        let safe: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let folder = tempfile::Builder::new().prefix(&format!("{safe}-")).tempdir_in(&parent);
        Ok(folder.map_err(file_error("create a folder in", &parent))?.keep())
    }

    /// Writes a kubeconfig whose context is called `controlplane`.
    pub(crate) fn write_kubeconfig(&self, path: &Path, credentials: &Credentials<'_>) -> Result<(), Error> {
        let user = match credentials {
            Credentials::Certificate(files) => {
                format!("client-certificate: {}\n    client-key: {}", quoted(&files.certificate), quoted(&files.key))
            }
            Credentials::TokenFile(path) => format!("tokenFile: {}", quoted(path)),
        };
        let content = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: controlplane\n\
             clusters:\n- name: controlplane\n  cluster:\n    server: {url}\n    certificate-authority: {ca}\n\
             users:\n- name: user\n  user:\n    {user}\n\
             contexts:\n- name: controlplane\n  context:\n    cluster: controlplane\n    user: user\n",
            url = self.url()?,
            ca = quoted(&self.certificates().serving_ca()),
        );
        write_private(path, &content)
    }

    fn run_kubectl(&self, kubeconfig: &Path, arguments: &[&str], input: &str) -> Result<String, Error> {
        let program = self.kubectl_program();
        let run_error = |source| Error::Run { program: program.clone(), source };
        // A file instead of a pipe: kubectl may write much before it has read all.
        let mut stdin = tempfile::tempfile().map_err(run_error)?;
        stdin.write_all(input.as_bytes()).and_then(|()| stdin.rewind()).map_err(run_error)?;
        let output = Command::new(&program)
            .args(arguments)
            .env("KUBECONFIG", kubeconfig)
            // kubectl keeps caches and preferences under HOME; the user's own must play no part.
            .env("HOME", &self.directory)
            .stdin(Stdio::from(stdin))
            .output()
            .map_err(run_error)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Error::Kubectl { arguments: arguments.join(" "), stderr })
    }
}

/// A path as a YAML string: Rust's quotes and escapes are YAML's too.
fn quoted(path: &Path) -> String {
    format!("{:?}", path.to_string_lossy())
}
