//! The topic of a record, from the sink's template.

use std::sync::Arc;

use aqueduct_api::config::{Piece, Template};
use aqueduct_api::{ErrorKind, Record, Result};

use crate::config::is_topic_name;
use crate::diagnosis::TOPIC_NAME;

/// Finds topics for those who have to know them before the record is here.
pub(crate) fn topic(template: &Template) -> Option<aqueduct_api::catalog::TopicResolver> {
    if template.pieces() == [Piece::Topic] {
        return None;
    }
    if let Some(name) = template.constant() {
        let name: Arc<str> = name.into();
        return Some(Box::new(move |_| Ok(Arc::clone(&name))));
    }
    let template = template.clone();
    Some(Box::new(move |record| topic_of(&template, record, &mut String::new()).map(Arc::from)))
}

/// The topic of this record, put together in `made` where a record names it.
pub(super) fn topic_of<'a>(template: &'a Template, record: &Record, made: &'a mut String) -> Result<&'a str> {
    if let Some(name) = template.constant() {
        return Ok(name);
    }
    made.clear();
    template.render(record, None, |text: &str, out: &mut String| out.push_str(text), made)?;
    if is_topic_name(made) {
        Ok(made)
    } else {
        Err(TOPIC_NAME.error(ErrorKind::BadRecord, &[("topic", made)]))
    }
}
