//! What stands in a deviation file, as it is written.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_yaml::Spanned;

use super::{ListedComplaint, UpstreamStatus};

/// A known deviation: what targets are known to do against the manuals.
// Field names are the keys, and the comments become the schema's descriptions.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "Known deviation")]
pub(super) struct File {
    /// What happens, in one sentence.
    #[schemars(with = "String")]
    pub(super) title: Spanned<String>,
    /// The backends on which it was seen. None, and `expected-on` says where it is expected.
    #[schemars(with = "Option<Vec<BackendName>>", length(min = 1))]
    pub(super) targets: Option<Spanned<Vec<Spanned<String>>>>,
    /// Backends that are expected to do it, by reading alone: nothing ran there. If it happens it is known, and
    /// if it does not that is no fault.
    #[schemars(with = "Option<Vec<BackendName>>", length(min = 1))]
    pub(super) expected_on: Option<Spanned<Vec<Spanned<String>>>>,
    /// The processor whose deviation it is rather than KVM's, and its versions: `qemu-tcg =10.0`.
    #[schemars(with = "Option<String>", regex(pattern = "^qemu-tcg .+"))]
    pub(super) processor: Option<Spanned<String>>,
    /// Whose fault it is, if it shows on one processor only and is not that processor's.
    pub(super) whose: Option<WhoseName>,
    /// `nested`: only where the processor walks the guest's page tables itself, so not on svm-npt0.
    pub(super) paging: Option<PagingName>,
    /// The only modes of a run in which it shows; every mode if absent.
    #[schemars(with = "Option<Vec<ModeName>>", length(min = 1))]
    pub(super) modes: Option<Spanned<Vec<Spanned<String>>>>,
    /// The kernels that do it, for instance `>=5.10, <6.2-rc1`; all of them if absent.
    #[schemars(with = "Option<String>")]
    pub(super) kernels: Option<Spanned<String>>,
    /// The commit that brought it. Only kernels with it do it.
    #[schemars(with = "Option<ChangeEntry>")]
    pub(super) introduced: Option<Spanned<ChangeEntry>>,
    /// The commit that ended it. Only kernels without it do it.
    #[schemars(with = "Option<ChangeEntry>")]
    pub(super) fixed: Option<Spanned<ChangeEntry>>,
    /// Defects of the model that do the same; `conform defects` lists them. Not with `complaint`.
    #[schemars(with = "Option<Vec<String>>", length(min = 1))]
    pub(super) defects: Option<Spanned<Vec<Spanned<String>>>>,
    /// What the kernel complains of, if it is that and nothing that a guest sees. The requirement is
    /// HOST-001 then.
    #[schemars(with = "Option<ListedComplaint>")]
    pub(super) complaint: Option<Spanned<ListedComplaint>>,
    /// Id of the requirement that is not met.
    #[schemars(with = "String")]
    pub(super) requirement: Spanned<String>,
    /// Why it is so.
    #[schemars(with = "String")]
    pub(super) reason: Spanned<String>,
    /// Where that is written: a commit, a thread, a file and function.
    #[schemars(with = "String")]
    pub(super) source: Spanned<String>,
    /// How it was seen: the case, and what shows. On which kernels, `golden/seen.yaml` says.
    #[schemars(with = "String")]
    pub(super) found: Spanned<String>,
    /// What those who maintain it say about it.
    #[schemars(with = "UpstreamEntry")]
    pub(super) upstream: Spanned<UpstreamEntry>,
}

/// What those who maintain it say about a deviation.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "Upstream")]
pub(super) struct UpstreamEntry {
    /// How they look at it.
    pub(super) status: UpstreamStatus,
    /// Where that is written: a commit, a comment in the source, a thread, a document. Only what nobody has
    /// reported has none.
    #[serde(rename = "where")]
    pub(super) place: Option<String>,
}

/// A commit, and the releases that have it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "Commit")]
pub(super) struct ChangeEntry {
    /// 12 to 40 digits of its name.
    pub(super) commit: String,
    /// The first tag of the mainline that has it, for instance `6.2-rc1`.
    #[schemars(with = "String")]
    pub(super) first_in: Spanned<String>,
    /// The first release with it of each stable branch that it was put on, for instance
    /// `[6.1.20, 5.15.103]`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) stable: Vec<Spanned<String>>,
}

/// The names of [`Backend::KNOWN`], for the schema.
#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(dead_code, reason = "only its schema is used")]
enum BackendName {
    Svm,
    SvmNpt0,
    Vmx,
    Pvm,
    #[serde(rename = "xen-pv")]
    XenPv,
    Arm64Nvhe,
    Arm64Vhe,
}

/// The names of [`Mode::ALL`], for the schema.
#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(dead_code, reason = "only its schema is used")]
enum ModeName {
    Normal,
    UserspaceRewrite,
    Migrate,
}

/// Whose fault a deviation is that one processor brings about.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum WhoseName {
    /// KVM's.
    Kvm,
}

/// Who walks the guest's page tables.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PagingName {
    /// The processor.
    Nested,
}

/// The JSON Schema of deviation files, for editors.
#[must_use]
pub fn deviation_schema() -> schemars::Schema {
    schemars::schema_for!(File)
}
