//! Everything the registry remembers: schemas by id, versions by subject, levels. No I/O.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::RegistryLimits;
use super::document::{Document, Language, Reference};
use super::level::Level;
use super::refusal::Refusal;

/// More schemas are not built upon by one.
const NEEDS_MAX: usize = 1_000;

/// A version of a subject.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Version {
    pub(crate) number: u32,
    pub(crate) id: u32,
    /// Hidden, but still known: a soft delete.
    pub(crate) deleted: bool,
}

/// Which versions are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Shown {
    #[default]
    Alive,
    Deleted,
    All,
}

/// One of them by its number, or the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Latest,
    Number(u32),
}

/// What a client sends in order to register a schema, or to ask for one.
pub(crate) struct Draft {
    pub(crate) language: Language,
    pub(crate) text: String,
    pub(crate) references: Vec<(String, String, Which)>,
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    limits: RegistryLimits,
    schemas: BTreeMap<u32, Document>,
    by_fingerprint: HashMap<u64, Vec<u32>>,
    ids_given: u32,
    /// Ascending by number.
    subjects: BTreeMap<String, Vec<Version>>,
    versions: usize,
    text_bytes: usize,
    level: Level,
    levels: BTreeMap<String, Level>,
}

impl Shown {
    fn shows(self, version: &Version) -> bool {
        match self {
            Shown::Alive => !version.deleted,
            Shown::Deleted => version.deleted,
            Shown::All => true,
        }
    }
}

impl Which {
    /// A number, `latest`, or the -1 that some clients write for it.
    pub(crate) fn named(text: &str) -> Result<Self, Refusal> {
        match text.parse::<i64>() {
            _ if text.eq_ignore_ascii_case("latest") => Ok(Which::Latest),
            Ok(-1) => Ok(Which::Latest),
            Ok(number) => Self::numbered(number).ok_or_else(|| Refusal::invalid_version(text)),
            Err(_) => Err(Refusal::invalid_version(text)),
        }
    }

    pub(crate) fn numbered(number: i64) -> Option<Self> {
        match number {
            -1 => Some(Which::Latest),
            number => u32::try_from(i32::try_from(number).ok()?)
                .ok()
                .filter(|number| *number > 0)
                .map(Which::Number),
        }
    }
}

impl Store {
    pub(crate) fn new(limits: RegistryLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Reads a draft, with the schemas that it refers to.
    pub(crate) fn read(&self, draft: Draft) -> Result<Document, Refusal> {
        let mut references = Vec::with_capacity(draft.references.len());
        let mut needs: Vec<u32> = Vec::new();
        for (name, subject, which) in draft.references {
            let Ok((version, document)) = self.version(&subject, which, Shown::Alive) else {
                return Err(Refusal::invalid_schema(format!(
                    "the reference `{name}` is to a version that subject `{subject}` does not have"
                )));
            };
            let all = document.needs.iter().chain([&version.id]);
            let unknown: Vec<u32> = all.filter(|id| !needs.contains(id)).copied().collect();
            needs.extend(unknown);
            if needs.len() > NEEDS_MAX {
                return Err(Refusal::invalid_schema(format!("it builds on more than {NEEDS_MAX} others")));
            }
            references.push(Reference { name, subject, version: version.number });
        }
        let needed: Vec<&str> =
            needs.iter().filter_map(|id| self.schemas.get(id)).map(|needed| &*needed.text).collect();
        let read = Document::read(draft.language, &draft.text, references, needs.clone(), &needed);
        read.map_err(Refusal::invalid_schema)
    }

    /// Takes a schema into a subject, if it is not there already and the subject's level allows it.
    pub(crate) fn register(&mut self, subject: &str, document: Document) -> Result<Version, Refusal> {
        if let Ok((version, _)) = self.find(subject, &document, Shown::Alive) {
            return Ok(version);
        }
        let objections = self.objections(subject, &document, None)?;
        if !objections.is_empty() {
            return Err(Refusal::incompatible(subject, &objections));
        }
        if self.versions >= self.limits.schemas_max {
            let schemas_max = self.limits.schemas_max;
            return Err(Refusal::full(format!(
                "the embedded registry takes {schemas_max} versions, no more"
            )));
        }
        let id = match self.same_as(&document) {
            Some(id) => id,
            None => self.keep(document)?,
        };
        let versions = self.subjects.entry(subject.to_owned()).or_default();
        let version =
            Version { number: versions.last().map_or(1, |last| last.number + 1), id, deleted: false };
        versions.push(version);
        self.versions += 1;
        Ok(version)
    }

    fn same_as(&self, document: &Document) -> Option<u32> {
        let alike = self.by_fingerprint.get(&document.fingerprint())?;
        alike.iter().copied().find(|id| self.schemas.get(id).is_some_and(|known| known.is_same(document)))
    }

    fn keep(&mut self, document: Document) -> Result<u32, Refusal> {
        let bytes_max = self.limits.text_bytes_max;
        if self.text_bytes + document.text.len() > bytes_max {
            let says = format!("the embedded registry takes {bytes_max} bytes of schemas, no more");
            return Err(Refusal::full(says));
        }
        self.text_bytes += document.text.len();
        self.ids_given += 1;
        self.by_fingerprint.entry(document.fingerprint()).or_default().push(self.ids_given);
        self.schemas.insert(self.ids_given, document);
        Ok(self.ids_given)
    }

    /// The latest version of the subject that is this schema.
    pub(crate) fn find(
        &self,
        subject: &str,
        document: &Document,
        shown: Shown,
    ) -> Result<(Version, &Document), Refusal> {
        let versions = self.versions(subject, shown)?;
        let known = |version: &Version| Some((*version, self.schemas.get(&version.id)?));
        let mut known = versions.iter().rev().filter_map(known);
        known.find(|(_, known)| known.is_same(document)).ok_or_else(Refusal::not_registered)
    }

    /// What speaks against a schema: beside one version, or beside those that the level asks for. A subject that is not
    /// there yet takes anything.
    pub(crate) fn objections(
        &self,
        subject: &str,
        document: &Document,
        which: Option<Which>,
    ) -> Result<Vec<String>, Refusal> {
        let older = match which {
            None => self.versions(subject, Shown::Alive).unwrap_or_default(),
            Some(which) => match self.version(subject, which, Shown::Alive) {
                Ok((version, _)) => vec![version],
                Err(_) if which == Which::Latest => Vec::new(),
                Err(refusal) => return Err(refusal),
            },
        };
        let known = |version: &Version| Some((version.number, self.schemas.get(&version.id)?));
        let older: Vec<(u32, &Document)> = older.iter().filter_map(known).collect();
        let level = self.levels.get(subject).copied().unwrap_or(self.level);
        Ok(level.objections(document, &older))
    }

    pub(crate) fn subjects(&self, shown: Shown) -> impl Iterator<Item = &str> {
        let has = move |versions: &Vec<Version>| match shown {
            // One that lives is not among the deleted, whatever it has lost.
            Shown::Deleted => versions.iter().all(|version| version.deleted),
            shown => versions.iter().any(|version| shown.shows(version)),
        };
        self.subjects.iter().filter(move |(_, versions)| has(versions)).map(|(subject, _)| subject.as_str())
    }

    /// At least one.
    pub(crate) fn versions(&self, subject: &str, shown: Shown) -> Result<Vec<Version>, Refusal> {
        let all = self.subjects.get(subject).map_or(&[][..], Vec::as_slice);
        let versions: Vec<Version> = all.iter().filter(|version| shown.shows(version)).copied().collect();
        if versions.is_empty() { Err(Refusal::no_subject(subject)) } else { Ok(versions) }
    }

    pub(crate) fn version(
        &self,
        subject: &str,
        which: Which,
        shown: Shown,
    ) -> Result<(Version, &Document), Refusal> {
        let versions = self.versions(subject, shown)?;
        let found = match which {
            Which::Latest => versions.last(),
            Which::Number(number) => versions.iter().find(|version| version.number == number),
        };
        let known = found.and_then(|version| Some((*version, self.schemas.get(&version.id)?)));
        known.ok_or_else(|| match which {
            Which::Latest => Refusal::no_version("latest"),
            Which::Number(number) => Refusal::no_version(number),
        })
    }

    pub(crate) fn by_id(&self, id: &str) -> Result<(u32, &Document), Refusal> {
        let known = id.parse().ok().and_then(|id: u32| Some((id, self.schemas.get(&id)?)));
        known.ok_or_else(|| Refusal::no_schema(id))
    }

    pub(crate) fn by_guid(&self, guid: &str) -> Result<(u32, &Document), Refusal> {
        let mut all = self.schemas.iter().map(|(id, document)| (*id, document));
        let found = all.find(|(_, document)| document.guid().eq_ignore_ascii_case(guid));
        found.ok_or_else(|| Refusal::no_schema(guid))
    }

    /// The highest id that was given out.
    pub(crate) fn id_max(&self) -> u32 {
        self.ids_given
    }

    /// Every version of every subject.
    pub(crate) fn everywhere(&self, shown: Shown) -> impl Iterator<Item = (&str, Version, &Document)> {
        self.subjects.iter().flat_map(move |(subject, versions)| {
            let shown = versions.iter().filter(move |version| shown.shows(version));
            shown
                .filter_map(move |version| Some((subject.as_str(), *version, self.schemas.get(&version.id)?)))
        })
    }

    /// Ids of the schemas that refer to a version.
    pub(crate) fn referring_to(&self, subject: &str, version: u32) -> Vec<u32> {
        let refers = |document: &Document| {
            document.references.iter().any(|to| to.subject == subject && to.version == version)
        };
        let referring = self.everywhere(Shown::Alive).filter(|(_, _, document)| refers(document));
        let ids: BTreeSet<u32> = referring.map(|(_, version, _)| version.id).collect();
        ids.into_iter().collect()
    }

    /// Hides a version, or forgets one that is hidden.
    pub(crate) fn delete_version(
        &mut self,
        subject: &str,
        which: Which,
        permanent: bool,
    ) -> Result<u32, Refusal> {
        let shown = if which == Which::Latest && !permanent { Shown::Alive } else { Shown::All };
        let (version, _) = self.version(subject, which, shown)?;
        match (version.deleted, permanent) {
            (true, false) => return Err(Refusal::version_is_deleted(subject, version.number)),
            (false, true) => return Err(Refusal::version_is_alive(subject, version.number)),
            _ => {}
        }
        self.drop_versions(subject, &[version], permanent)?;
        Ok(version.number)
    }

    /// Hides all versions of a subject, or forgets a subject whose versions are all hidden.
    pub(crate) fn delete_subject(&mut self, subject: &str, permanent: bool) -> Result<Vec<u32>, Refusal> {
        let all = self.versions(subject, Shown::All)?;
        let alive: Vec<Version> = all.iter().filter(|version| !version.deleted).copied().collect();
        let chosen = match (alive.is_empty(), permanent) {
            (true, false) => return Err(Refusal::subject_is_deleted(subject)),
            (false, true) => return Err(Refusal::subject_is_alive(subject)),
            (true, true) => all,
            (false, false) => alive,
        };
        self.drop_versions(subject, &chosen, permanent)?;
        self.levels.remove(subject);
        Ok(chosen.iter().map(|version| version.number).collect())
    }

    fn drop_versions(&mut self, subject: &str, chosen: &[Version], permanent: bool) -> Result<(), Refusal> {
        let referred = |version: &&Version| !self.referring_to(subject, version.number).is_empty();
        if let Some(version) = chosen.iter().find(referred) {
            return Err(Refusal::is_referenced(subject, version.number));
        }
        let is_chosen = |version: &Version| chosen.iter().any(|other| other.number == version.number);
        let Some(versions) = self.subjects.get_mut(subject) else { return Ok(()) };
        if !permanent {
            versions
                .iter_mut()
                .filter(|version| is_chosen(version))
                .for_each(|version| version.deleted = true);
            return Ok(());
        }
        versions.retain(|version| !is_chosen(version));
        self.versions -= chosen.len();
        if versions.is_empty() {
            self.subjects.remove(subject);
        }
        chosen.iter().for_each(|version| self.forget(version.id));
        Ok(())
    }

    /// A schema that no version has any more.
    fn forget(&mut self, id: u32) {
        if self.everywhere(Shown::All).any(|(_, version, _)| version.id == id) {
            return;
        }
        if let Some(document) = self.schemas.remove(&id) {
            self.text_bytes -= document.text.len();
            if let Some(alike) = self.by_fingerprint.get_mut(&document.fingerprint()) {
                alike.retain(|other| *other != id);
            }
        }
    }

    /// The level of a subject, or that of the whole registry.
    pub(crate) fn level(&self, subject: Option<&str>) -> Option<Level> {
        match subject {
            None => Some(self.level),
            Some(subject) => self.levels.get(subject).copied(),
        }
    }

    pub(crate) fn set_level(&mut self, subject: Option<&str>, level: Level) -> Result<(), Refusal> {
        let Some(subject) = subject else {
            self.level = level;
            return Ok(());
        };
        if self.levels.len() >= self.limits.schemas_max && !self.levels.contains_key(subject) {
            let schemas_max = self.limits.schemas_max;
            return Err(Refusal::full(format!("the embedded registry takes {schemas_max} levels, no more")));
        }
        self.levels.insert(subject.to_owned(), level);
        Ok(())
    }

    /// The level that is taken back.
    pub(crate) fn unset_level(&mut self, subject: Option<&str>) -> Option<Level> {
        match subject {
            None => Some(std::mem::take(&mut self.level)),
            Some(subject) => self.levels.remove(subject),
        }
    }
}
