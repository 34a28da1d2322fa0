//! What a test does to the world: it applies, edits, annotates and deletes.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::{PATIENCE, World, kinds};

impl World {
    /// Where the service is.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The key with which the operator signs in.
    pub fn api_key(&self) -> String {
        self.canaries.lock().unwrap()[0].clone()
    }

    /// A value that must be found nowhere but in Secrets and in the service.
    pub fn canary(&self) -> String {
        let mut canaries = self.canaries.lock().unwrap();
        let canary = format!("canary-{}-{}", canaries.len(), self.namespace);
        canaries.push(canary.clone());
        canary
    }

    /// Lets the operator ask the API server who somebody is and what they may do.
    pub fn permit_reviews(&self) {
        let system = &self.system;
        self.bind(&format!("reviews-{system}"), "system:auth-delegator", &format!("{system}:amigo-operator"));
    }

    /// Takes the operator's role in the namespace away, and gives it this Role of the name `amigo-operator` instead.
    pub fn permit_instead(&self, role: &str) {
        self.kubectl(&["delete", "rolebinding", "amigo-operator"]);
        self.kubectl_with(&["create", "--filename", "-"], role).unwrap();
        self.bind_here("amigo-operator");
    }

    /// Gives the operator a Role of the namespace.
    pub fn bind_here(&self, role: &str) {
        let (of_role, account) = (format!("--role={role}"), format!("--serviceaccount={}:amigo-operator", self.system));
        self.kubectl(&["create", "rolebinding", role, &of_role, &account]);
    }

    /// A token of a new ServiceAccount, which may read metrics or not.
    pub fn token_of(&self, name: &str, reads_metrics: bool) -> String {
        self.kubectl(&["create", "serviceaccount", name]);
        if reads_metrics {
            let role = format!("metrics-{}", self.namespace);
            self.kubectl(&["create", "clusterrole", &role, "--verb=get", "--non-resource-url=/metrics"]);
            self.bind(&role, &role, &format!("{}:{name}", self.namespace));
        }
        self.kubectl(&["create", "token", name]).trim().to_owned()
    }

    fn bind(&self, name: &str, role: &str, account: &str) {
        let (role, account) = (format!("--clusterrole={role}"), format!("--serviceaccount={account}"));
        self.kubectl(&["create", "clusterrolebinding", name, &role, &account]);
    }

    /// Runs kubectl in the namespace, as an administrator.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let arguments = [&["--namespace", &self.namespace], arguments].concat();
        self.cluster.kubectl(&arguments).unwrap()
    }

    /// Runs kubectl in the namespace, as an administrator, with this file for `--filename -`. The error is what it complains of.
    pub fn kubectl_with(&self, arguments: &[&str], file: &str) -> Result<String, String> {
        let arguments = [&["--namespace", &self.namespace], arguments].concat();
        self.cluster.kubectl_with_input(&arguments, file).map_err(|error| error.to_string())
    }

    /// Runs a line of a shell in the project's folder, in which `kubectl` is an administrator's.
    pub fn shell(&self, line: &str) -> String {
        let (program, kubeconfig) = (self.cluster.kubectl_program(), self.cluster.admin_kubeconfig());
        let mut shell = Command::new("sh");
        shell
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["-euc", &format!("kubectl() {{ \"$KUBECTL\" \"$@\"; }}\n{line}")]);
        shell.env("KUBECTL", program).env("KUBECONFIG", kubeconfig).env("HOME", self.folder.path());
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Applies a file of manifests in its order.
    pub fn apply(&self, manifests: &str) {
        self.apply_in(&self.namespace, manifests);
    }

    /// Applies a file of manifests in another namespace.
    pub fn apply_in(&self, namespace: &str, manifests: &str) {
        let objects: Vec<Value> = serde_saphyr::from_multiple(manifests).unwrap();
        let objects = objects.iter().filter(|object| object.is_object());
        let applied: Vec<_> = objects.map(|object| self.block_on(self.apply_one(namespace, object))).collect();
        for object in &applied {
            self.await_echo(object);
        }
    }

    async fn apply_one(&self, namespace: &str, object: &Value) -> DynamicObject {
        let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
        let api = self.api(namespace, kind);
        let applied = if kind == "Secret" {
            // Applied server-side, a Secret would keep the keys that `stringData` does not have any more.
            let secret: DynamicObject = serde_json::from_value(object.clone()).unwrap();
            match api.create(&PostParams::default(), &secret).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    api.replace(name, &PostParams::default(), &secret).await
                }
                other => other,
            }
        } else {
            api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(object)).await
        };
        applied.unwrap_or_else(|error| panic!("{kind} {name} cannot be applied: {error}"))
    }

    /// Waits until the recorder has seen what was just written, so that nobody looks at what was before.
    fn await_echo(&self, written: &DynamicObject) {
        let kind = written.types.as_ref().map(|types| types.kind.clone()).unwrap_or_default();
        if !kinds::KINDS.contains(&kind.as_str()) {
            return;
        }
        let metadata = &written.metadata;
        let id = (metadata.namespace.clone().unwrap_or_default(), kind, metadata.name.clone().unwrap_or_default());
        let version = number(metadata.resource_version.as_deref());
        let seen = |object: Option<&Value>| {
            object.is_some_and(|object| number(object["metadata"]["resourceVersion"].as_str()) >= version)
        };
        assert!(self.recorder.wait(&id, Instant::now() + PATIENCE, seen).is_ok(), "{id:?} is not seen");
    }

    /// Merges a patch into an object.
    pub fn patch(&self, kind: &str, name: &str, patch: &Value) {
        let api = self.api(&self.namespace, kind);
        let patched = self.block_on(api.patch(name, &PatchParams::default(), &Patch::Merge(patch))).unwrap();
        self.await_echo(&patched);
    }

    /// Changes the spec of an object.
    pub fn edit(&self, kind: &str, name: &str, spec: &Value) {
        self.patch(kind, name, &json!({"spec": spec}));
    }

    /// Changes the spec of an object of another namespace again and again without a pause, so that what is written after a look
    /// at it comes too late.
    pub fn edit_in_a_row(&self, namespace: &str, kind: &str, name: &str, specs: impl IntoIterator<Item = Value>) {
        let api = self.api(namespace, kind);
        self.block_on(async {
            for spec in specs {
                let patch = Patch::Merge(json!({"spec": spec}));
                api.patch(name, &PatchParams::default(), &patch).await.unwrap();
            }
        });
    }

    /// Sets an annotation of ours.
    pub fn annotate(&self, kind: &str, name: &str, annotation: &str, value: &str) {
        let annotation = format!("amigo.ai/{annotation}");
        self.patch(kind, name, &json!({"metadata": {"annotations": {annotation: value}}}));
    }

    /// Asks for a fresh look, and waits until it was taken.
    pub fn request(&self, kind: &str, name: &str) -> Value {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let value = format!("request-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.annotate(kind, name, "reconcile-requested-at", &value);
        let echoes = |object: &Value| object["status"]["lastHandledReconcileAt"] == value.as_str();
        self.wait_for(kind, name, echoes, "echoes the request")
    }

    /// Deletes an object, without waiting until it is gone.
    pub fn delete(&self, kind: &str, name: &str) {
        self.delete_in(&self.namespace, kind, name);
    }

    /// Deletes an object of another namespace.
    pub fn delete_in(&self, namespace: &str, kind: &str, name: &str) {
        let api = self.api(namespace, kind);
        self.block_on(api.delete(name, &DeleteParams::default())).unwrap();
    }

    fn api(&self, namespace: &str, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &kinds::resource(kind))
    }

    /// Runs a future to its end.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.as_ref().unwrap().block_on(future)
    }
}

/// A resourceVersion, to compare.
fn number(resource_version: Option<&str>) -> u64 {
    resource_version.and_then(|text| text.parse().ok()).unwrap_or_default()
}
