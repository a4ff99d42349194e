//! One pipeline whose offsets are looked at: its source, its offset store, or both.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aqueduct_api::{
    Catalog, Error, OffsetAdmin, OffsetSpec, OffsetStore, Offsets, Partition, PartitionOffsets, Position,
    Result,
};
use aqueduct_spec::Pipeline;

/// See the file's header.
pub(super) struct Ground {
    pipeline: Arc<str>,
    offset_admin: Option<Box<dyn OffsetAdmin>>,
    store: Option<Arc<dyn OffsetStore>>,
}

/// The pipelines of a file or folder, or the one of that name; nothing when it was said what is wrong.
pub(super) fn find(what: &str, files: &[PathBuf], catalog: &Catalog) -> Option<Vec<Pipeline>> {
    if Path::new(what).exists() {
        return Some(super::super::load(&[PathBuf::from(what)], catalog)?.pipelines);
    }
    let loaded = aqueduct_spec::load(files, catalog, &aqueduct_spec::Environment::of_process());
    let names: Vec<String> = loaded.pipelines.iter().map(|pipeline| pipeline.name.to_string()).collect();
    let found: Vec<Pipeline> = loaded.pipelines.into_iter().filter(|it| &*it.name == what).collect();
    if found.is_empty() {
        // It may be among those that are broken; other files that lie there are no concern of this.
        super::super::print(&loaded.diagnostics);
        let places: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
        let there =
            if names.is_empty() { "none is".to_owned() } else { format!("there are {}", names.join(", ")) };
        eprintln!(
            "error: there is no file and no pipeline `{what}`: in {} {there}; give its file, or where to look with --in",
            places.join(", ")
        );
        return None;
    }
    Some(found)
}

impl Ground {
    /// Opens what keeps the offsets.
    pub(super) async fn open(pipeline: &Pipeline, catalog: &Catalog) -> Result<Self> {
        let source = &pipeline.source.connector;
        let named = pipeline.offset_store.is_some();
        let stored = source.configured.traits().keeps_offsets.needs_store(named);
        if stored && pipeline.offset_store.as_ref().is_none_or(|store| store.kind == "memory") {
            return Err(Error::config("its offsets are kept in memory, by the process that runs it")
                .with("pipeline", &pipeline.name)
                .remedy("name an offset_store"));
        }
        let store = if stored { Some(crate::supervise::open_store(pipeline, catalog).await?) } else { None };
        let offset_admin = source.configured.offset_admin(Arc::clone(&pipeline.name)).await?;
        if offset_admin.is_none() && store.is_none() {
            return Err(Error::config(format!("the source `{}` does not show its offsets", source.kind)));
        }
        Ok(Self { pipeline: Arc::clone(&pipeline.name), offset_admin, store })
    }

    /// Where each partition stands.
    pub(super) async fn list(&mut self) -> Result<Vec<PartitionOffsets>> {
        let mut list = match &mut self.offset_admin {
            Some(offset_admin) => offset_admin.list().await?,
            None => Vec::new(),
        };
        let Some(store) = &self.store else { return Ok(list) };
        let mut kept = store.load(&self.pipeline).await?;
        for standing in &mut list {
            standing.stored = kept.remove(&standing.partition);
            let number = |position: &Option<Position>| position.as_ref()?.parse::<i64>().ok();
            let behind = number(&standing.end).zip(number(&standing.stored));
            standing.lag_records = behind.map(|(end, stored)| (end - stored).max(0));
        }
        // A source that knows no places, or partitions that are read no more.
        let only = |(partition, position): (Partition, Position)| PartitionOffsets {
            partition,
            stored: Some(position),
            first: None,
            end: None,
            lag_records: None,
        };
        list.extend(kept.into_iter().map(only));
        Ok(list)
    }

    /// The position that a target means.
    pub(super) async fn resolve(
        &mut self,
        standing: &PartitionOffsets,
        target: &OffsetSpec,
    ) -> Result<Position> {
        let partition = &standing.partition;
        // What is stored may stand elsewhere than the source thinks.
        let target = match (target, &self.store) {
            (OffsetSpec::By(records), Some(_)) => {
                let stored = standing.stored.as_ref().and_then(|stored| stored.parse::<i64>().ok());
                let stored = stored.ok_or_else(|| {
                    Error::config("no number is stored to move on from").with("partition", partition)
                })?;
                &OffsetSpec::At(stored.saturating_add(*records).to_string().into())
            }
            (target, _) => target,
        };
        match (&mut self.offset_admin, target) {
            (Some(offset_admin), target) => offset_admin.resolve(partition, target).await,
            (None, OffsetSpec::At(position)) => Ok(position.clone()),
            (None, _) => {
                Err(Error::config("this source knows no places, only positions as it wrote them itself")
                    .remedy("give a position as `aqueduct offsets show` prints it"))
            }
        }
    }

    /// Stores all of these or none.
    pub(super) async fn store(&mut self, moved: &Offsets) -> Result<()> {
        match (&self.store, &mut self.offset_admin) {
            (Some(store), _) => store.save(&self.pipeline, moved).await,
            (None, Some(offset_admin)) => offset_admin.store(moved).await,
            (None, None) => Err(Error::fatal("there is nothing to store offsets in")),
        }
    }
}
