//! What can go wrong with the control plane. Every message names the cause and, where there is one, the remedy.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why the control plane, or one of its programs, is not there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be used: full disk, wrong permissions.
    #[error("cannot {action} {path:?}: {source}")]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },

    /// A program could not be run at all.
    #[error("cannot run {program:?}: {source}")]
    Run {
        /// The program.
        program: PathBuf,
        /// The system's answer.
        source: io::Error,
    },

    /// A `TEST_ASSET_…` variable or `KUBEBUILDER_ASSETS` points at nothing.
    #[error("{variable} names {path:?}, where there is no {program}: correct the variable, or unset it to build one")]
    AssetMissing {
        /// The variable.
        variable: &'static str,
        /// What it says.
        path: PathBuf,
        /// The program that was looked for.
        program: &'static str,
    },

    /// Neither `XDG_CACHE_HOME` nor `HOME` says where built programs may be kept.
    #[error("there is no place to keep the built control plane: set HOME or XDG_CACHE_HOME")]
    NoCacheFolder,

    /// Go is needed to build the programs and is not there.
    #[error(
        "the tests run {programs}, built with Go {needed} or newer, and no `go` was found: install Go (https://go.dev/dl), or {instead}"
    )]
    GoMissing {
        /// The oldest Go that will do.
        needed: String,
        /// The programs that are missing.
        programs: String,
        /// What to do without Go.
        instead: String,
    },

    /// Go is there, and too old for the pinned Kubernetes.
    #[error(
        "the tests run {programs}, built with Go {needed} or newer, and {go:?} is {found}: install a newer Go (https://go.dev/dl), or {instead}"
    )]
    GoTooOld {
        /// The `go` that was found.
        go: PathBuf,
        /// Its version.
        found: String,
        /// The oldest Go that will do.
        needed: String,
        /// The programs that are missing.
        programs: String,
        /// What to do without Go.
        instead: String,
    },

    /// `go build` failed: most often because modules cannot be downloaded.
    #[error("building {program} failed; without access to Go modules, {instead}; go said:\n{output}")]
    GoBuild {
        /// The program.
        program: &'static str,
        /// What to do without Go.
        instead: String,
        /// The last lines of Go's output.
        output: String,
    },

    /// A certificate could not be made.
    #[error("cannot make the certificate of {subject:?}: {source}")]
    Certificate {
        /// Whose certificate.
        subject: String,
        /// The cause.
        source: rcgen::Error,
    },

    /// A client certificate holds two groups at most.
    #[error(
        "user {user:?} cannot be in {count} groups, a client certificate has room for two: bind roles to the user instead"
    )]
    TooManyGroups {
        /// The user.
        user: String,
        /// How many groups were asked for.
        count: usize,
    },

    /// The TLS client that asks for the server's health could not be set up.
    #[error("cannot set up TLS towards the API server: {0}")]
    Tls(String),

    /// No free ports were found.
    #[error("no {0} free ports between 15000 and 30000 on 127.0.0.1: end what occupies them")]
    NoFreePorts(usize),

    /// A server ended while it should have been running.
    #[error("{server} ended ({status}) instead of becoming ready; its log {log:?} ends with:\n{tail}")]
    ServerEnded {
        /// The server.
        server: &'static str,
        /// How it ended.
        status: String,
        /// Its whole log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },

    /// A server runs and does not become ready.
    #[error("{server}: {what} did not come true within {} s; its log {log:?} ends with:\n{tail}", waited.as_secs())]
    NotReady {
        /// The server.
        server: &'static str,
        /// What was waited for.
        what: &'static str,
        /// How long.
        waited: Duration,
        /// Its whole log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },

    /// The folder that was asked for holds something, perhaps an older control plane with other certificates.
    #[error("{0:?} is not empty: name another folder, or empty it")]
    FolderNotEmpty(PathBuf),

    /// kubectl ended with an error.
    #[error("kubectl {arguments} failed: {stderr}")]
    Kubectl {
        /// The arguments, joined.
        arguments: String,
        /// What kubectl wrote to its standard error.
        stderr: String,
    },
}

/// Turns an I/O error into [`Error::File`] of this action and path.
pub(crate) fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { action, path, source }
}
