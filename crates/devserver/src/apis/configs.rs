//! Settings described and altered; those of topics can be changed, those of the broker only looked at.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, incremental_alter_configs_request,
    incremental_alter_configs_response,
};

use super::{code, text};
use crate::broker::{Broker, NODE_ID, State};
use crate::settings::{BROKER_SETTINGS, Kind, Setting, TOPIC_SETTINGS, check_topic_setting};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// Where a value comes from.
const FROM_TOPIC: i8 = 1;
const FROM_DEFAULT: i8 = 5;

pub(crate) fn describe(broker: &Broker, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let state = broker.lock();
    let results = request.resources.into_iter().map(|resource| {
        let result = DescribeConfigsResult::default().with_resource_type(resource.resource_type);
        let result = match describe_one(&state, &resource, request.include_synonyms) {
            Ok(configs) => result.with_configs(configs),
            Err(error) => {
                result.with_error_code(error.code()).with_error_message(Some(text(&error.to_string())))
            }
        };
        result.with_resource_name(resource.resource_name)
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

/// Replaces all of a topic's settings: what is not named goes back to its default.
pub(crate) fn alter(broker: &Broker, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let mut state = broker.lock();
    let responses = request.resources.into_iter().map(|resource| {
        let settings = resource.configs.iter().map(|config| {
            let value = config.value.as_ref().ok_or(ResponseError::InvalidConfig)?;
            Ok((config.name.to_string(), value.to_string()))
        });
        let altered = settings.collect::<Result<BTreeMap<_, _>, _>>().and_then(|settings| {
            change(
                &mut state,
                resource.resource_type,
                &resource.resource_name,
                request.validate_only,
                |now| {
                    *now = settings;
                    Ok(())
                },
            )
        });
        AlterConfigsResourceResponse::default()
            .with_error_code(code(altered))
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
    });
    AlterConfigsResponse::default().with_responses(responses.collect())
}

/// Changes only the settings that are named (KIP-339).
pub(crate) fn alter_incrementally(
    broker: &Broker,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut state = broker.lock();
    let responses = request.resources.into_iter().map(|resource| {
        let (kind, name) = (resource.resource_type, &resource.resource_name);
        let altered = change(&mut state, kind, name, request.validate_only, |settings| {
            resource.configs.iter().try_for_each(|config| apply(settings, config))
        });
        incremental_alter_configs_response::AlterConfigsResourceResponse::default()
            .with_error_code(code(altered))
            .with_resource_type(kind)
            .with_resource_name(resource.resource_name)
    });
    IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
}

fn describe_one(
    state: &State,
    resource: &DescribeConfigsResource,
    synonyms: bool,
) -> Result<Vec<DescribeConfigsResourceResult>, ResponseError> {
    let (known, set) = match resource.resource_type {
        TOPIC => (TOPIC_SETTINGS, Some(&state.topics.get(&resource.resource_name)?.settings)),
        BROKER if resource.resource_name == *NODE_ID.to_string() => (BROKER_SETTINGS, None),
        _ => return Err(ResponseError::InvalidRequest),
    };
    let asked = |setting: &&Setting| {
        let keys = resource.configuration_keys.as_ref();
        keys.is_none_or(|keys| keys.iter().any(|key| *key == *setting.name))
    };
    let describe = |setting: &Setting| {
        let value = set.and_then(|set| set.get(setting.name));
        let result = DescribeConfigsResourceResult::default()
            .with_name(text(setting.name))
            .with_value(Some(text(value.map_or(setting.default, String::as_str))))
            .with_read_only(set.is_none())
            .with_config_source(if value.is_some() { FROM_TOPIC } else { FROM_DEFAULT })
            .with_config_type(setting.kind as i8);
        let value_synonym = value.filter(|_| synonyms).map(|value| synonym(setting.name, value, FROM_TOPIC));
        let default_synonym = synonyms.then(|| synonym(setting.name, setting.default, FROM_DEFAULT));
        result.with_synonyms(value_synonym.into_iter().chain(default_synonym).collect())
    };
    Ok(known.iter().filter(asked).map(describe).collect())
}

fn synonym(name: &str, value: &str, source: i8) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym::default().with_name(text(name)).with_value(Some(text(value))).with_source(source)
}

/// Changes a topic's settings when the result is sound in all its parts.
fn change(
    state: &mut State,
    kind: i8,
    name: &str,
    only_check: bool,
    change: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), ResponseError>,
) -> Result<(), ResponseError> {
    if kind != TOPIC {
        return Err(ResponseError::InvalidRequest);
    }
    let topic = state.topics.get_mut(name)?;
    let mut settings = topic.settings.clone();
    change(&mut settings)?;
    settings.iter().try_for_each(|(name, value)| check_topic_setting(name, value))?;
    if !only_check {
        topic.settings = settings;
    }
    Ok(())
}

fn apply(
    settings: &mut BTreeMap<String, String>,
    config: &incremental_alter_configs_request::AlterableConfig,
) -> Result<(), ResponseError> {
    const SET: i8 = 0;
    const DELETE: i8 = 1;
    const APPEND: i8 = 2;
    const SUBTRACT: i8 = 3;
    let name = config.name.as_str();
    let known =
        TOPIC_SETTINGS.iter().find(|setting| setting.name == name).ok_or(ResponseError::InvalidConfig)?;
    if config.config_operation == DELETE {
        settings.remove(name);
        return Ok(());
    }
    let value = config.value.as_ref().ok_or(ResponseError::InvalidConfig)?;
    let present = settings.get(name).map_or(known.default, String::as_str);
    let value = match config.config_operation {
        SET => value.to_string(),
        APPEND if known.kind == Kind::List => format!("{present},{}", value.as_str()),
        SUBTRACT if known.kind == Kind::List => {
            let gone: Vec<&str> = value.split(',').collect();
            present.split(',').filter(|item| !gone.contains(item)).collect::<Vec<_>>().join(",")
        }
        _ => return Err(ResponseError::InvalidConfig),
    };
    settings.insert(name.to_owned(), value);
    Ok(())
}
