//! Kinds together with their configuration, with their types forgotten: what the engine and the planner hold.

use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;

use super::kinds::{
    FormatKind, OffsetStoreKind, RegistryKind, SinkConnector, SourceConnector, TopicResolver, TransformKind,
};
use super::{ProbeContext, SinkContext, SinkTraits, SourceContext, SourceTraits};
use crate::error::Result;
use crate::finding::Finding;
use crate::flow::{Reads, System, Writes};
use crate::format::{Decoder, Encoder, FormatContext, FormatTraits, Rows, Side, Translator};
use crate::offset_admin::OffsetAdmin;
use crate::offsets::OffsetStore;
use crate::problem::Problem;
use crate::registry::Registry;
use crate::sink::Sink;
use crate::source::Source;
use crate::transform::Transform;

/// A source whose configuration was read and checked.
#[async_trait]
pub trait ConfiguredSource: Send + Sync {
    /// See [`SourceConnector::check_rows`].
    fn check_rows(&self, rows: Option<&Rows>) -> Vec<Problem>;
    /// See [`SourceConnector::check_offsets`].
    fn check_offsets(&self, rows: Option<&Rows>) -> Vec<Problem>;
    /// See [`SourceConnector::traits`].
    fn traits(&self) -> SourceTraits;
    /// See [`SourceConnector::describe`].
    fn describe(&self, pipeline: &str) -> String;
    /// See [`SourceConnector::reads`].
    fn reads(&self, pipeline: &str) -> Option<Reads>;
    /// See [`SourceConnector::system`].
    async fn system(&self, context: ProbeContext) -> Result<Option<System>>;
    /// See [`SourceConnector::open`].
    async fn open(&self, context: SourceContext) -> Result<Box<dyn Source>>;
    /// See [`SourceConnector::probe`].
    async fn probe(&self, context: ProbeContext) -> Vec<Finding>;
    /// See [`SourceConnector::offset_admin`].
    async fn offset_admin(&self, pipeline: Arc<str>) -> Result<Option<Box<dyn OffsetAdmin>>>;
}

/// A sink whose configuration was read and checked.
#[async_trait]
pub trait ConfiguredSink: Send + Sync {
    /// See [`SinkConnector::traits`].
    fn traits(&self) -> SinkTraits;
    /// See [`SinkConnector::describe`].
    fn describe(&self) -> String;
    /// See [`SinkConnector::names_by_offsets`].
    fn names_by_offsets(&self) -> bool;
    /// See [`SinkConnector::topic`].
    fn topic(&self) -> Option<TopicResolver>;
    /// See [`SinkConnector::writes`].
    fn writes(&self) -> Option<Writes>;
    /// See [`SourceConnector::system`].
    async fn system(&self, context: ProbeContext) -> Result<Option<System>>;
    /// See [`SinkConnector::open`].
    async fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>>;
    /// See [`SourceConnector::probe`].
    async fn probe(&self, context: ProbeContext) -> Vec<Finding>;
}

/// A transform whose configuration was read and checked.
pub trait ConfiguredTransform: Send + Sync {
    /// See [`TransformKind::build`].
    fn build(&self) -> Result<Box<dyn Transform>>;
}

/// A format whose configuration was read and checked.
#[async_trait]
pub trait ConfiguredFormat: Send + Sync {
    /// See [`FormatKind::check`].
    fn check(&self, side: Side) -> Vec<Problem>;
    /// See [`FormatKind::traits`].
    fn traits(&self) -> FormatTraits;
    /// See [`FormatKind::rows`].
    fn rows(&self) -> Option<Rows>;
    /// See [`FormatKind::describe`].
    fn describe(&self, side: Side) -> String;
    /// See [`FormatKind::decoder`].
    fn decoder(&self, context: &FormatContext) -> Result<Box<dyn Decoder>>;
    /// See [`FormatKind::encoder`].
    fn encoder(&self, context: &FormatContext) -> Result<Box<dyn Encoder>>;
    /// See [`FormatKind::translator`].
    fn translator(&self, from: &Arc<dyn Registry>, context: &FormatContext) -> Result<Box<dyn Translator>>;
    /// See [`FormatKind::probe`].
    async fn probe(&self, side: Side, context: FormatContext, topics: Vec<Arc<str>>) -> Vec<Finding>;
}

/// A registry whose configuration was read and checked.
#[async_trait]
pub trait ConfiguredRegistry: Send + Sync {
    /// The same one at each call: what it was told once it remembers, also through restarts of a pipeline.
    fn open(&self) -> Result<Arc<dyn Registry>>;
    /// See [`SourceConnector::probe`].
    async fn probe(&self, context: ProbeContext) -> Vec<Finding>;
}

/// An offset store whose configuration was read and checked.
#[async_trait]
pub trait ConfiguredStore: Send + Sync {
    /// See [`OffsetStoreKind::open`].
    async fn open(&self) -> Result<Arc<dyn OffsetStore>>;
}

/// The kind, remembered by type, with its configuration.
pub(super) struct Configured<K, C> {
    config: Arc<C>,
    kind: PhantomData<fn() -> K>,
}

impl<K, C> Configured<K, C> {
    pub(super) fn new(config: C) -> Self {
        Self { config: Arc::new(config), kind: PhantomData }
    }
}

#[async_trait]
impl<K: SourceConnector> ConfiguredSource for Configured<K, K::Config> {
    fn check_rows(&self, rows: Option<&Rows>) -> Vec<Problem> {
        K::check_rows(&self.config, rows)
    }
    fn check_offsets(&self, rows: Option<&Rows>) -> Vec<Problem> {
        K::check_offsets(&self.config, rows)
    }
    fn traits(&self) -> SourceTraits {
        K::traits(&self.config)
    }
    fn describe(&self, pipeline: &str) -> String {
        K::describe(&self.config, pipeline)
    }
    fn reads(&self, pipeline: &str) -> Option<Reads> {
        K::reads(&self.config, pipeline)
    }
    async fn system(&self, context: ProbeContext) -> Result<Option<System>> {
        K::system(Arc::clone(&self.config), context).await
    }
    async fn open(&self, context: SourceContext) -> Result<Box<dyn Source>> {
        K::open(Arc::clone(&self.config), context).await
    }
    async fn probe(&self, context: ProbeContext) -> Vec<Finding> {
        K::probe(Arc::clone(&self.config), context).await
    }
    async fn offset_admin(&self, pipeline: Arc<str>) -> Result<Option<Box<dyn OffsetAdmin>>> {
        K::offset_admin(Arc::clone(&self.config), pipeline).await
    }
}

#[async_trait]
impl<K: SinkConnector> ConfiguredSink for Configured<K, K::Config> {
    fn traits(&self) -> SinkTraits {
        K::traits(&self.config)
    }
    fn describe(&self) -> String {
        K::describe(&self.config)
    }
    fn names_by_offsets(&self) -> bool {
        K::names_by_offsets()
    }
    fn topic(&self) -> Option<TopicResolver> {
        K::topic(&self.config)
    }
    fn writes(&self) -> Option<Writes> {
        K::writes(&self.config)
    }
    async fn system(&self, context: ProbeContext) -> Result<Option<System>> {
        K::system(Arc::clone(&self.config), context).await
    }
    async fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>> {
        K::open(Arc::clone(&self.config), context).await
    }
    async fn probe(&self, context: ProbeContext) -> Vec<Finding> {
        K::probe(Arc::clone(&self.config), context).await
    }
}

impl<K: TransformKind> ConfiguredTransform for Configured<K, K::Config> {
    fn build(&self) -> Result<Box<dyn Transform>> {
        K::build(&self.config)
    }
}

#[async_trait]
impl<K: FormatKind> ConfiguredFormat for Configured<K, K::Config> {
    fn check(&self, side: Side) -> Vec<Problem> {
        K::check(&self.config, side)
    }
    fn traits(&self) -> FormatTraits {
        K::traits(&self.config)
    }
    fn rows(&self) -> Option<Rows> {
        K::rows(&self.config)
    }
    fn describe(&self, side: Side) -> String {
        K::describe(&self.config, side)
    }
    fn decoder(&self, context: &FormatContext) -> Result<Box<dyn Decoder>> {
        K::decoder(&self.config, context)
    }
    fn encoder(&self, context: &FormatContext) -> Result<Box<dyn Encoder>> {
        K::encoder(&self.config, context)
    }
    fn translator(&self, from: &Arc<dyn Registry>, context: &FormatContext) -> Result<Box<dyn Translator>> {
        K::translator(&self.config, from, context)
    }
    async fn probe(&self, side: Side, context: FormatContext, topics: Vec<Arc<str>>) -> Vec<Finding> {
        K::probe(Arc::clone(&self.config), side, context, topics).await
    }
}

/// The registry, opened once.
pub(super) struct OneRegistry<K: RegistryKind> {
    config: Arc<K::Config>,
    opened: OnceLock<Arc<dyn Registry>>,
}

impl<K: RegistryKind> OneRegistry<K> {
    pub(super) fn new(config: K::Config) -> Self {
        Self { config: Arc::new(config), opened: OnceLock::new() }
    }
}

#[async_trait]
impl<K: RegistryKind> ConfiguredRegistry for OneRegistry<K> {
    fn open(&self) -> Result<Arc<dyn Registry>> {
        if let Some(opened) = self.opened.get() {
            return Ok(Arc::clone(opened));
        }
        let opened = K::open(&self.config)?;
        Ok(Arc::clone(self.opened.get_or_init(|| opened)))
    }
    async fn probe(&self, context: ProbeContext) -> Vec<Finding> {
        K::probe(Arc::clone(&self.config), context).await
    }
}

#[async_trait]
impl<K: OffsetStoreKind> ConfiguredStore for Configured<K, K::Config> {
    async fn open(&self) -> Result<Arc<dyn OffsetStore>> {
        K::open(&self.config).await
    }
}
