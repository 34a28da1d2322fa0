//! Every reason that a condition can carry. A reason is API: people search for it, alerts match it.

/// Implements the enum together with its text forms, so that a reason cannot lack one.
macro_rules! reasons {
    ($( $name:ident { meaning: $meaning:literal, cause: $cause:literal, remedy: $remedy:literal } )*) => {
        /// Why an object is in the state it is in.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $( #[doc = $meaning] $name, )*
        }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$( Self::$name, )*];

            /// The reason as it stands in conditions and Events.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$name => stringify!($name), )* }
            }

            /// What the reason says.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $( Self::$name => $meaning, )* }
            }

            /// What usually leads to it.
            #[must_use]
            pub const fn cause(self) -> &'static str {
                match self { $( Self::$name => $cause, )* }
            }

            /// What to do about it.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $( Self::$name => $remedy, )* }
            }
        }
    };
}

reasons! {
    Succeeded { meaning: "The service matches the manifest.", cause: "-", remedy: "Nothing to do." }
    Progressing { meaning: "Work on the object has begun and goes on.", cause: "The object is new or changed, or waits for its turn.", remedy: "Wait." }
    ProgressingWithRetry { meaning: "The last attempt failed and is made again.", cause: "The service or the network is not available, or answered in a way that passes.", remedy: "Wait; the message says what failed." }
    Suspended { meaning: "Nothing remote is done for the object.", cause: "`spec.suspend` of the object or of its Organization is true.", remedy: "Set `spec.suspend` to false." }
    OrganizationNotFound { meaning: "The Organization does not exist.", cause: "It was not applied yet, the reference is misspelt, or no default organization is set.", remedy: "Apply the Organization, or correct `spec.organizationRef`." }
    OrganizationNotReady { meaning: "The Organization exists but cannot be used.", cause: "Its own Ready condition says why.", remedy: "Mend the Organization." }
    NamespaceNotAllowed { meaning: "The Organization does not allow this namespace.", cause: "`allowedNamespaces` of the Organization leaves the namespace out.", remedy: "Have the Organization's owner allow the namespace." }
    EndpointNotAllowed { meaning: "The Organization's endpoint is not on the operator's list.", cause: "The endpoint is misspelt, or the operator was not started with it.", remedy: "Correct `spec.endpoint`, or start the operator with `--allowed-endpoint`." }
    CredentialsRefused { meaning: "The service refused the credentials.", cause: "The key is wrong, expired or deleted, or the user is unknown.", remedy: "Put a valid key into the Secret; it is used at once." }
    CredentialExpiring { meaning: "The Organization works, and its API key ends soon.", cause: "A key lives 90 days at most and cannot be extended. The last 14 days of its life are told, or the last third of a shorter one.", remedy: "Make a new key and put it into the Secret; it is used at once." }
    PermissionDenied { meaning: "The credentials lack a permission.", cause: "The role of the API key does not allow the call that the message names.", remedy: "Grant the permission to the key's role." }
    SecretAccessDenied { meaning: "The operator is not permitted to read a Secret that the object names.", cause: "No Role or ClusterRole gives the operator's ServiceAccount `get` on the Secret: its name is not in `secrets.names` of the Helm chart, or `rbac.secrets` is false.", remedy: "Grant it: with the Helm chart, add the Secret to `secrets.names`; otherwise by a Role and a RoleBinding in the Secret's namespace. It is tried again by itself." }
    SecretNotFound { meaning: "A Secret that the object names does not exist.", cause: "It was not applied yet, was deleted, or the name is misspelt.", remedy: "Create the Secret, or correct the reference." }
    SecretNotLabelled { meaning: "A Secret that the object names is not for the operator to read.", cause: "The operator was started with `--only-labelled-secrets=true`, and the Secret lacks the label `amigo.ai/sync: \"true\"`.", remedy: "Label the Secret, or name another." }
    SecretKeyNotFound { meaning: "A Secret lacks a key that the object names.", cause: "The key is misspelt or was removed.", remedy: "Add the key to the Secret, or correct the reference." }
    SecretValueInvalid { meaning: "The value of a Secret's key cannot be sent.", cause: "It is not UTF-8 text, or an entry of the credentials is empty or has a line break inside.", remedy: "Store text in the key that the message names." }
    ToolNotFound { meaning: "The Tool does not exist, or the service has no tool of that name to observe.", cause: "It was not applied yet, or `spec.toolRef` or `spec.name` is misspelt.", remedy: "Apply the Tool, or correct the name." }
    ToolNotReady { meaning: "The Tool has no remote tool to work on yet.", cause: "The Tool's own Ready condition says why.", remedy: "Mend the Tool." }
    NameTaken { meaning: "The remote tool belongs to somebody else.", cause: "Another Tool wants the same remote tool, or a remote tool of that name carries another mark or none.", remedy: "Choose another `spec.name`, or take the tool over with `spec.adoptionPolicy`." }
    OwnershipLost { meaning: "The tool carries somebody else's mark now.", cause: "Another installation or a person took the tool over.", remedy: "Settle who owns the tool. To take it back, delete the object (it retains by default) and apply it again with `adoptionPolicy: Always`." }
    DeprecatedRemotely { meaning: "The tool was deprecated by somebody else.", cause: "A person or another client deprecated it in the service.", remedy: "Annotate `amigo.ai/recreate: <id>` to have a new tool, with a new id, or delete the object." }
    RemoteMissing { meaning: "The service does not know the tool or version any more.", cause: "It was removed in the service, or the service answers for another organization.", remedy: "Find out what happened; for a Tool, annotate `amigo.ai/recreate: <id>` to have a new one." }
    DeprecationHeld { meaning: "A deprecation waits for a person.", cause: "More deprecations were asked for in an hour than the Organization allows.", remedy: "Check them, then annotate the Organization with `amigo.ai/confirm-deprecations` and the number it shows." }
    DeletionBlocked { meaning: "The object cannot be cleaned up yet.", cause: "The Organization cannot be used, or a remote call fails; the message says which.", remedy: "Mend the cause, set `deletionPolicy: Retain`, or annotate `amigo.ai/abandon: \"true\"`." }
    InUse { meaning: "The Organization is still needed.", cause: "Objects refer to it that still have remote work to do.", remedy: "Delete those objects first." }
    VersionUnreachable { meaning: "No single bump leads to the version.", cause: "A version between is missing, or the service is past the number.", remedy: "Use one of the numbers that the message names." }
    VersionTaken { meaning: "The version exists with other content, or another ToolVersion stands for it.", cause: "Somebody published it from another project path, or two objects name it.", remedy: "Use another number, or delete one of the objects." }
    VersionDeprecated { meaning: "The version is deprecated.", cause: "Somebody deprecated it, or `deprecatedVersions` of the Tool matches it.", remedy: "Publish a new version, and delete the object." }
    VersionPending { meaning: "Another version of the tool goes first.", cause: "Versions are published one at a time, in ascending order.", remedy: "Wait." }
    VariablesNotSynced { meaning: "The tool's variables are not in the service yet.", cause: "A ToolEnvSecret of the tool is not synced.", remedy: "Wait, or mend the ToolEnvSecret that the message names." }
    CommitMismatch { meaning: "Another commit was built than the one expected.", cause: "The branch moved on before the version was built.", remedy: "Publish another version, with the right `expectedCommit`." }
    ProjectNotFound { meaning: "The service found nothing to build.", cause: "The project path, the branch or the commit does not exist.", remedy: "Correct `spec.projectPath` in a new object." }
    BuildFailed { meaning: "The service could not build the version.", cause: "The project does not build.", remedy: "Mend the project, then annotate `amigo.ai/reconcile-requested-at`." }
    PublishRefused { meaning: "The service refused to publish the version.", cause: "The commit is older than the last version's, the version requires variables that the tool lacks, or too many versions are active.", remedy: "Mend the cause, then annotate `amigo.ai/reconcile-requested-at`." }
    VariablesMissing { meaning: "The version requires variables that the tool lacks.", cause: "No ToolEnvSecret sets them.", remedy: "Add them to a ToolEnvSecret of the tool; the publish is then tried again." }
    RevisionMismatch { meaning: "The service does not speak the revision of the API.", cause: "`spec.apiRevision` of the Organization is wrong, or the service is newer than the operator.", remedy: "Set `apiRevision: Auto`, or update the operator." }
    Publishing { meaning: "The version is being built, or the outcome of the build is being found out.", cause: "A publish takes minutes; after a lost answer the list of versions decides.", remedy: "Wait." }
    QueuedForBudget { meaning: "The object waits for a call.", cause: "The organization's limit of calls a minute is used up.", remedy: "Wait; the message has an estimate." }
    VariableConflict { meaning: "Another ToolEnvSecret has the variable.", cause: "Two objects of one tool name the same variable; the older keeps it.", remedy: "Remove the variable from one of them." }
    VariableInUse { meaning: "A variable that should go is still required.", cause: "Active versions require it.", remedy: "Deprecate those versions, or keep the variable." }
    VariableBlocked { meaning: "The service refuses the variable's name for a while.", cause: "A variable of that name was deleted a short time ago.", remedy: "Wait." }
    KeysSkipped { meaning: "Keys of a Secret are no names of variables.", cause: "`envFrom` takes all keys of a Secret, and some do not match the pattern of names and are not named in `env`.", remedy: "Nothing, or name the keys in `env`. The object is Ready all the same; this is an Event only." }
    VisibilityMismatch { meaning: "A variable is plain in the service and should be secret, or the other way round.", cause: "The service cannot turn one into the other.", remedy: "Use another name, or delete the variable first and add it again after a while." }
    InvalidSpec { meaning: "The manifest cannot be acted on.", cause: "A value passed the server's validation and still makes no sense.", remedy: "Correct the field that the message names." }
    InvalidRequest { meaning: "The service refused the request.", cause: "It judges a value differently from the CRD.", remedy: "Correct the field that the message names." }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
