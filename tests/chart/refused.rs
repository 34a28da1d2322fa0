//! Values that are refused: by the schema, which names the value, or by a sentence about values that do not go together.

use crate::helm::Helm;

/// Values, and what the schema's complaint must name.
#[test]
fn wrong_values_are_refused_by_name() {
    for (values, named) in [
        ("{replicas: 2}", "replicas"),
        ("{image: {name: x}}", "name"),
        ("{replicaCount: two}", "replicaCount"),
        ("{replicaCount: -1}", "replicaCount"),
        ("{replicaCount: 1.5}", "replicaCount"),
        ("{image: {pullPolicy: Sometimes}}", "image/pullPolicy"),
        ("{image: {digest: 'sha256:12'}}", "image/digest"),
        ("{image: {repository: 'Upper/Case'}}", "image/repository"),
        ("{image: {registry: 'a.example/'}}", "image/registry"),
        ("{image: {tag: 'a b'}}", "image/tag"),
        ("{imagePullSecrets: [pull]}", "imagePullSecrets/0"),
        ("{fullnameOverride: Upper}", "fullnameOverride"),
        ("{namespaceOverride: 'a.b'}", "namespaceOverride"),
        ("{namespaces: travel}", "namespaces"),
        ("{namespaces: [Travel]}", "namespaces/0"),
        ("{namespaces: [a, a]}", "namespaces"),
        ("{ownerId: 'a/b'}", "ownerId"),
        ("{allowedEndpoints: ['api.example.com']}", "allowedEndpoints/0"),
        ("{allowedEndpoints: ['https://a.example/path']}", "allowedEndpoints/0"),
        ("{secrets: {access: all}}", "secrets/access"),
        ("{secrets: {pollSeconds: 0}}", "secrets/pollSeconds"),
        ("{secrets: {access: named, names: {travel: []}}}", "secrets/names/travel"),
        ("{secrets: {access: named, names: {travel: a}}}", "secrets/names/travel"),
        ("{secrets: {access: named, names: {Travel: [a]}}}", "Travel"),
        ("{defaultOrganization: {reference: acme}}", "defaultOrganization/reference"),
        ("{defaultOrganization: {renderMode: never}}", "defaultOrganization/renderMode"),
        ("{defaultOrganization: {spec: {organisation: acme}}}", "organisation"),
        ("{defaultOrganization: {spec: {budgetPercent: 101}}}", "budgetPercent"),
        ("{crds: {keep: 'yes'}}", "crds/keep"),
        ("{crds: {annotations: {a: 1}}}", "crds/annotations/a"),
        ("{rbac: {aggregate: {viewer: true}}}", "viewer"),
        ("{serviceAccount: {name: 'a_b'}}", "serviceAccount/name"),
        ("{leaderElection: {enabled: maybe}}", "leaderElection/enabled"),
        ("{gracePeriodSeconds: 90000}", "gracePeriodSeconds"),
        ("{podDisruptionBudget: {minAvailable: many}}", "podDisruptionBudget/minAvailable"),
        ("{podDisruptionBudget: {maxUnavailable: 101%}}", "podDisruptionBudget/maxUnavailable"),
        ("{logging: {format: xml}}", "logging/format"),
        ("{http: {address: localhost}}", "http/address"),
        ("{http: {port: 80}}", "http/port"),
        ("{metrics: {secure: {port: 443}}}", "metrics/secure/port"),
        ("{metrics: {secure: {certificateSecret: A_b}}}", "metrics/secure/certificateSecret"),
        ("{secrets: {onlyLabelled: 'yes'}}", "secrets/onlyLabelled"),
        ("{commonLabels: {a: 'b c'}}", "commonLabels/a"),
        ("{podLabels: {a: true}}", "podLabels/a"),
        ("{podSecurityContext: {runAsUsr: 1}}", "runAsUsr"),
        ("{securityContext: {capabilities: {dorp: [ALL]}}}", "dorp"),
        ("{resources: {limit: {cpu: 1}}}", "limit"),
        ("{resources: {limits: {memory: lots}}}", "resources/limits/memory"),
        ("{livenessProbe: {httpGet: {}}}", "httpGet"),
        ("{tolerations: [{effect: Never}]}", "tolerations/0/effect"),
        ("{affinity: {podsAffinity: {}}}", "podsAffinity"),
        ("{topologySpreadConstraints: [{maxSkew: 1}]}", "topologySpreadConstraints/0"),
        ("{hostUsers: 'no'}", "hostUsers"),
        ("{extraArgs: [-x]}", "extraArgs/0"),
        ("{extraEnv: [{value: x}]}", "extraEnv/0"),
        ("{extraVolumes: [{emptyDir: {}}]}", "extraVolumes/0"),
        ("{extraVolumeMounts: [{name: a, mountPath: b}]}", "extraVolumeMounts/0/mountPath"),
        ("{extraObjects: [1]}", "extraObjects/0"),
        ("{service: {port: 70000}}", "service/port"),
        ("{networkPolicy: {egressPorts: [https]}}", "networkPolicy/egressPorts/0"),
        ("{serviceMonitor: {interval: often}}", "serviceMonitor/interval"),
        ("{podMonitor: {scrape: 1s}}", "scrape"),
        ("{prometheusRule: {renderMode: always}}", "prometheusRule/renderMode"),
        ("{grafanaDashboard: {folder: x}}", "folder"),
    ] {
        for (helm, program) in Helm::both() {
            let refused = program.render(values, &[]).map(|_| "accepted").unwrap_err();
            // Helm 3 writes paths with dots in some versions, so that the separator does not count.
            let refused = refused.replace('.', "/");
            assert!(refused.contains("schema"), "{helm}, {values}: {refused}");
            assert!(refused.contains(named), "{helm}, {values}: {refused} does not name {named}");
        }
    }
}

/// Another chart that includes this one hands on its `global` and its condition.
#[test]
fn what_a_parent_chart_hands_on_is_accepted() {
    let values = "{enabled: true, global: {imageRegistry: a.example, storageClass: fast}}";
    assert!(Helm::four().render(values, &[]).is_ok());
}

/// Values that do not go together, and the sentence that says so.
#[test]
fn combinations_that_cannot_work_are_refused_with_a_sentence() {
    for (values, sentence) in [
        (
            "{replicaCount: 2, leaderElection: {enabled: false}}",
            "replicaCount is greater than 1 without leaderElection.enabled: several operators would work on the same objects at once.",
        ),
        (
            "{gracePeriodSeconds: 360}",
            "terminationGracePeriodSeconds (360) must be greater than gracePeriodSeconds (360): the Pod would be killed while it still waits for publishes.",
        ),
        (
            "{terminationGracePeriodSeconds: 30}",
            "terminationGracePeriodSeconds (30) must be greater than gracePeriodSeconds (330)",
        ),
        (
            "{replicaCount: 3, podDisruptionBudget: {minAvailable: 1, maxUnavailable: 1}}",
            "podDisruptionBudget has both minAvailable and maxUnavailable: Kubernetes takes one of them.",
        ),
        (
            "{replicaCount: 2, podDisruptionBudget: {minAvailable: 2}}",
            "podDisruptionBudget.minAvailable (2) leaves no Pod of 2 to evict: nodes could not be drained.",
        ),
        (
            "{replicaCount: 2, podDisruptionBudget: {minAvailable: 100%}}",
            "podDisruptionBudget.minAvailable (100%) leaves no Pod of 2 to evict",
        ),
        (
            "{replicaCount: 2, podDisruptionBudget: {maxUnavailable: 0}}",
            "podDisruptionBudget.maxUnavailable (0) lets no Pod be evicted: nodes could not be drained.",
        ),
        (
            "{secrets: {names: {travel: [a]}}}",
            "secrets.names has no effect with secrets.access=watch, which reads all Secrets: choose named or poll, or remove the names.",
        ),
        (
            "{secrets: {access: named}}",
            "secrets.access=named needs secrets.names: without names the operator could read no Secret at all.",
        ),
        (
            "{namespaces: [travel], secrets: {access: named, names: {travel: [a], billing: [a]}}}",
            "secrets.names has the namespace billing, which is not in namespaces: the operator does not work there.",
        ),
        (
            "{podMonitor: {enabled: true}, metrics: {secure: {enabled: true}}}",
            "podMonitor.enabled does not go with metrics.secure.enabled",
        ),
        (
            "{metrics: {secure: {certificateSecret: a}}}",
            "metrics.secure.certificateSecret has no effect without metrics.secure.enabled",
        ),
        ("{metrics: {secure: {enabled: true, port: 8080}}}", "metrics.secure.port and http.port are both 8080"),
        (
            "{defaultOrganization: {reference: a/b, create: true, spec: {organization: a, credentialsRef: {name: b}}}}",
            "defaultOrganization has both reference and create: the default is one that exists, or one that the chart makes.",
        ),
        (
            "{defaultOrganization: {create: true, spec: {organization: a}}}",
            "defaultOrganization.create needs defaultOrganization.spec.organization and defaultOrganization.spec.credentialsRef.name.",
        ),
        (
            "{namespaces: [travel], defaultOrganization: {reference: billing/acme}}",
            "the default Organization billing/acme is in a namespace that is not in namespaces: the operator does not see it.",
        ),
        (
            "{namespaces: [travel], defaultOrganization: {create: true, spec: {organization: a, credentialsRef: {name: b}}}}",
            "the default Organization amigo-system/default is in a namespace that is not in namespaces",
        ),
        (
            "{serviceAccount: {create: false}}",
            "serviceAccount.create=false needs serviceAccount.name: the permissions would go to the ServiceAccount default, and so to every Pod.",
        ),
        (
            "{extraArgs: ['--listen=0.0.0.0:1']}",
            "extraArgs has --listen, which a value of this chart sets: use that value.",
        ),
        ("{extraEnv: [{name: POD_NAME, value: x}]}", "extraEnv has POD_NAME, which the chart sets"),
        (
            "{serviceMonitor: {enabled: true}, podMonitor: {enabled: true}}",
            "serviceMonitor and podMonitor are both enabled, and every sample would be taken twice: enable one of them.",
        ),
        (
            "{serviceMonitor: {enabled: true}, service: {enabled: false}}",
            "serviceMonitor.enabled needs service.enabled: a ServiceMonitor finds Pods by their Service.",
        ),
    ] {
        for (helm, program) in Helm::both() {
            let refused = program.render(values, &[]).map(|_| "accepted").unwrap_err();
            assert!(refused.contains(sentence), "{helm}, {values}: {refused}");
        }
    }
}

/// Close to what is refused, and right.
#[test]
fn their_neighbours_are_accepted() {
    for values in [
        "{replicaCount: 2}",
        "{leaderElection: {enabled: false}}",
        "{replicaCount: 0, leaderElection: {enabled: false}}",
        "{gracePeriodSeconds: 359}",
        "{gracePeriodSeconds: 0, terminationGracePeriodSeconds: 1}",
        "{podDisruptionBudget: {minAvailable: 1}}",
        "{replicaCount: 2, podDisruptionBudget: {minAvailable: 50%}}",
        "{replicaCount: 2, podDisruptionBudget: {enabled: false, minAvailable: 2}}",
        "{secrets: {access: named}, rbac: {secrets: false}}",
        "{secrets: {access: named}, rbac: {create: false}}",
        "{secrets: {access: poll, names: {travel: [a]}}}",
        "{namespaces: [travel], defaultOrganization: {reference: travel/acme}}",
        "{resources: {limits: {cpu: 2}}}",
        "{resources: {limits: {cpu: null}}}",
        "{allowedEndpoints: ['http://sandbox.default.svc:8080']}",
    ] {
        let rendered = Helm::four().render(values, &[]);
        assert!(rendered.is_ok(), "{values}: {}", rendered.unwrap_err());
    }
}
