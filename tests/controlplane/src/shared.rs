//! One control plane for many tests.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::cluster::Cluster;
use crate::control_plane::{ControlPlane, Options};
use crate::error::Error;

/// Names the folder of the control plane that `cargo xtask test` has started.
pub const DIRECTORY_VARIABLE: &str = "AMIGO_TEST_CONTROLPLANE_DIR";

/// Names the administrator's kubeconfig of that control plane, for programs that know no more than kubeconfigs.
pub const KUBECONFIG_VARIABLE: &str = "AMIGO_TEST_KUBECONFIG";

/// The control plane that tests share: the one that the environment names ([`DIRECTORY_VARIABLE`]), or else one that
/// is started now and ends with this process. The project's CRDs are installed.
///
/// Tests run side by side on it: each uses a namespace of its own ([`Cluster::create_namespace`]). A test that stops
/// servers starts its own [`ControlPlane`].
pub fn shared() -> Result<&'static Cluster, &'static Error> {
    static SHARED: OnceLock<Result<Shared, Error>> = OnceLock::new();
    SHARED.get_or_init(Shared::find_or_start).as_ref().map(Shared::cluster)
}

/// The folder of the project's CRDs.
#[must_use]
pub fn project_crds() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds")
}

enum Shared {
    Found(Cluster),
    Started(Box<ControlPlane>),
}

impl Shared {
    fn find_or_start() -> Result<Self, Error> {
        match env::var_os(DIRECTORY_VARIABLE).filter(|value| !value.is_empty()) {
            Some(directory) => Ok(Self::Found(Cluster::at(directory.into()))),
            None => ControlPlane::start(Options::default().crds(project_crds())).map(Box::new).map(Self::Started),
        }
    }

    fn cluster(&self) -> &Cluster {
        match self {
            Self::Found(cluster) => cluster,
            Self::Started(control_plane) => control_plane,
        }
    }
}
