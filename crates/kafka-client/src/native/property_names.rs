//! The names of all properties, for which librdkafka's wrapper has no call.

use std::ffi::{CStr, c_char};

use rdkafka::bindings as native;

/// The names of all properties that this build of the library knows.
pub(crate) fn property_names() -> Vec<String> {
    let mut names = Vec::new();
    // SAFETY: each configuration is made here, dumped, and destroyed; each dump is read while it lives and freed with the
    // count that came with it.
    unsafe {
        let mut count = 0;
        let conf = native::rd_kafka_conf_new();
        let dump = native::rd_kafka_conf_dump(conf, &raw mut count);
        names.extend(names_in(dump, count));
        native::rd_kafka_conf_dump_free(dump, count);
        native::rd_kafka_conf_destroy(conf);
        let conf = native::rd_kafka_topic_conf_new();
        let dump = native::rd_kafka_topic_conf_dump(conf, &raw mut count);
        names.extend(names_in(dump, count));
        native::rd_kafka_conf_dump_free(dump, count);
        native::rd_kafka_topic_conf_destroy(conf);
    }
    names
}

/// Names and values take turns.
///
/// # Safety
/// `dump` has `count` texts that live on.
unsafe fn names_in(dump: *mut *const c_char, count: usize) -> Vec<String> {
    // SAFETY: promised by the caller.
    let texts = unsafe { std::slice::from_raw_parts(dump, count) };
    // SAFETY: each is a C string that lives on, by the same promise.
    let text = |text: &*const c_char| unsafe { CStr::from_ptr(*text) }.to_string_lossy().into_owned();
    texts.iter().step_by(2).map(text).collect()
}
