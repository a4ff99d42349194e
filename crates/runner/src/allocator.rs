//! The allocator of the whole process, librdkafka's memory included: see docs/decisions/2026-11-26-jemalloc.md.
#![allow(unsafe_code)]

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Records are made by one thread and freed by another, by the hundred thousand a second: each thread may keep more of the
/// small pieces than it would by default, and what nobody has used for half a second goes back to the system. Read by the
/// allocator at its start, by this name (jemalloc(3), "tuning"); `MALLOC_CONF` in the environment comes behind it.
// SAFETY: the allocator reads a C string by this name, of which the first word of the slice is the start.
#[unsafe(export_name = "malloc_conf")]
static SETTINGS: &[u8] = b"narenas:4,dirty_decay_ms:500,muzzy_decay_ms:0,tcache_nslots_small_max:1000,lg_tcache_nslots_mul:3,tcache_max:65536\0";
