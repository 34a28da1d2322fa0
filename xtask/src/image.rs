//! `cargo xtask image`: the container image of the operator, the same bits from the same commit: a static program, the
//! certificate authorities that it trusts, and nothing else; with its bill of materials beside it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Outcome, cargo};

/// The largest image that is let through, in bytes.
const LARGEST: u64 = 25_000_000;

/// Cargo commands that are needed beside cargo, by the name of the crate that has each.
const TOOLS: [(&str, &str); 2] = [("auditable", "cargo-auditable"), ("cyclonedx", "cargo-cyclonedx")];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Name and tag of the image. Default: localhost/amigo-operator with the version as tag
    #[arg(long)]
    tag: Option<String>,
    /// The service in memory instead of the operator, for demonstrations and tests on a real node
    #[arg(long)]
    sandbox: bool,
    /// Build it twice, from nothing each time, and compare the bits
    #[arg(long)]
    twice: bool,
}

impl Options {
    /// The operator, under its default name.
    pub(crate) fn operator() -> Self {
        Self { tag: None, sandbox: false, twice: false }
    }

    /// The sandbox, under its default name.
    pub(crate) fn sandbox() -> Self {
        Self { sandbox: true, ..Self::operator() }
    }
}

/// One image to be built.
struct Image<'o> {
    program: &'static str,
    containerfile: &'static str,
    options: &'o Options,
}

/// Where the archive of a program's image is.
pub(crate) fn archive(program: &str) -> PathBuf {
    directory().join(format!("{program}.tar"))
}

fn directory() -> PathBuf {
    cargo::target_directory().join("image")
}

/// Fails when a command of cargo is missing.
pub(crate) fn check_tools() -> Outcome {
    for (command, package) in TOOLS {
        if !cargo::has(command) {
            return Err(format!("{package} is missing; this installs it: cargo install --locked {package}").into());
        }
    }
    Ok(())
}

/// Builds the image into `target/image`, as an archive that `docker load`, `podman load` and `ctr images import` take.
pub(crate) fn run(options: &Options) -> Outcome {
    check_tools()?;
    let image = if options.sandbox {
        Image { program: "amigo-sandbox", containerfile: "Containerfile.sandbox", options }
    } else {
        Image { program: "amigo-operator", containerfile: "Containerfile", options }
    };
    let directory = directory();
    if options.twice && directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    let made = image.build(&directory)?;
    for file in &made {
        println!("{} ({:.1} MB)", file.display(), megabytes(fs::metadata(file)?.len()));
    }
    if fs::metadata(archive(image.program))?.len() > LARGEST {
        return Err(format!("the image is larger than {:.0} MB", megabytes(LARGEST)).into());
    }
    if options.twice {
        for (one, other) in made.iter().zip(image.build(&directory.join("again"))?) {
            if fs::read(one)? != fs::read(&other)? {
                let (one, other) = (one.display(), other.display());
                return Err(format!("the same commit gave other bits: {one} and {other}").into());
            }
        }
        println!("built again: the same bits");
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

impl Image<'_> {
    /// Builds everything below `directory`: the archive, and what the operator is made of.
    fn build(&self, directory: &Path) -> Result<Vec<PathBuf>, Box<dyn std::error::Error>> {
        let context = directory.join(self.program);
        fs::create_dir_all(&context)?;
        let time = commit_time()?;
        let program = self.compile(&directory.join("build"), &time)?;
        fs::copy(program, context.join(self.program))?;
        fs::write(context.join("ca-certificates.crt"), authorities())?;
        let archive = directory.join(format!("{}.tar", self.program));
        self.pack(&context, &archive, &time)?;
        if self.options.sandbox {
            return Ok(vec![archive]);
        }
        let bill = directory.join("amigo-operator.cdx.json");
        bill_of_materials(&bill, &time)?;
        Ok(vec![archive, bill])
    }

    /// Static, so that it needs no C library where it runs. No path of this machine gets into it.
    fn compile(&self, target: &Path, time: &str) -> Result<PathBuf, Box<dyn std::error::Error>> {
        let triple = host()?;
        let home = std::env::home_dir().unwrap_or_default().join(".cargo");
        let home = std::env::var_os("CARGO_HOME").map_or(home, PathBuf::from);
        let flags = [
            "-Ctarget-feature=+crt-static".to_owned(),
            format!("--remap-path-prefix={}=/source", cargo::workspace().display()),
            format!("--remap-path-prefix={}=/cargo", home.display()),
        ];
        let variables = [
            ("CARGO_TARGET_DIR", target.display().to_string()),
            // Separated by a character that no path has.
            ("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}")),
            ("SOURCE_DATE_EPOCH", time.to_owned()),
        ];
        let build = ["auditable", "build", "--locked", "--release", "--target", &triple, "--bin", self.program];
        cargo::run(&build, &variables)?;
        Ok(target.join(triple).join("release").join(self.program))
    }

    fn pack(&self, context: &Path, archive: &Path, time: &str) -> Outcome {
        let version = env!("CARGO_PKG_VERSION");
        let tag = self.options.tag.clone().unwrap_or_else(|| format!("localhost/{}:{version}", self.program));
        let file = cargo::workspace().join("deploy/image").join(self.containerfile);
        let revision = cargo::git(&["rev-parse", "HEAD"])?;
        let labels = [
            ("title", self.program),
            ("description", "Kubernetes operator for the Amigo tool API"),
            ("version", version),
            ("revision", revision.as_str()),
            ("licenses", "Apache-2.0"),
        ];
        let labels = labels.map(|(key, value)| format!("--label=org.opencontainers.image.{key}={value}"));
        let mut build = buildah();
        // Without namespaces or a storage driver of the kernel, so that it works inside of a container, too.
        build.args(["bud", "--isolation", "chroot", "--timestamp", time, "--tag", &tag]).args(labels);
        execute(build.arg("--file").arg(file).arg(context))?;
        // It is added to where it exists already.
        if archive.exists() {
            fs::remove_file(archive)?;
        }
        execute(buildah().args(["push", &tag]).arg(format!("docker-archive:{}:{tag}", archive.display())))
    }
}

fn buildah() -> Command {
    let mut buildah = Command::new("buildah");
    buildah.args(["--storage-driver", "vfs"]);
    buildah
}

fn execute(command: &mut Command) -> Outcome {
    let status = command.status().map_err(|error| format!("cannot run buildah: {error}; is it installed?"))?;
    if status.success() { Ok(()) } else { Err(format!("this failed ({status}): {command:?}").into()) }
}

/// When the commit was made, in seconds since 1970: every time in the image.
fn commit_time() -> Result<String, Box<dyn std::error::Error>> {
    cargo::git(&["log", "-1", "--format=%ct"])
}

/// What this machine's programs are called in Rust.
fn host() -> Result<String, Box<dyn std::error::Error>> {
    let output = Command::new("rustc").args(["--version", "--verbose"]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or("rustc does not tell its host")?.to_owned())
}

/// Mozilla's list, as the lock file pins it: what a machine has installed differs from day to day.
fn authorities() -> String {
    let pem = |der: &[u8]| pem::encode(&pem::Pem::new("CERTIFICATE", der));
    webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|certificate| pem(certificate)).collect()
}

/// What the program is made of, as CycloneDX, in the file.
fn bill_of_materials(file: &Path, time: &str) -> Outcome {
    let name = "amigo-operator.cdx";
    let arguments = ["cyclonedx", "--format", "json", "--spec-version", "1.5", "--override-filename", name];
    cargo::run(&arguments, &[("SOURCE_DATE_EPOCH", time.to_owned())])?;
    // One lies beside the manifest of each member of the workspace; the operator's is at the top.
    let made = cargo::workspace().join(format!("{name}.json"));
    // The folder of the sources says nothing to others, and would make each machine's list another.
    let text =
        fs::read_to_string(&made)?.replace(&format!("file://{}", cargo::workspace().display()), "file:///source");
    // Not those that are ignored: the one that this makes, and the one before, are in the target folder.
    for left in cargo::git(&["ls-files", "--others", "--exclude-standard", "--", &format!("*{name}.json")])?.lines() {
        fs::remove_file(cargo::workspace().join(left))?;
    }
    fs::write(file, text)?;
    Ok(())
}
