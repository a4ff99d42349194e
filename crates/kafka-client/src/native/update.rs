//! Another password, or its brokers again, for a client that runs; librdkafka's wrapper has no call for either.

use std::ffi::{CStr, CString};

use rdkafka::bindings as native;
use rdkafka::client::{Client, ClientContext};

/// From now on each login is made with this password; connections that are open stay as they are. Only for PLAIN and SCRAM:
/// certificates and keys are read once, when a client is made. An error is librdkafka's.
pub(crate) fn password<C: ClientContext>(
    client: &Client<C>,
    user: &str,
    password: &str,
) -> Result<(), String> {
    let (Ok(user), Ok(password)) = (CString::new(user), CString::new(password)) else {
        return Err("a user or a password holds a zero byte".to_owned());
    };
    // SAFETY: the client lives as long as it is borrowed, both texts are C strings that the call copies, and the error is
    // read while it lives and destroyed once.
    unsafe {
        let error =
            native::rd_kafka_sasl_set_credentials(client.native_ptr(), user.as_ptr(), password.as_ptr());
        if error.is_null() {
            return Ok(());
        }
        let says = CStr::from_ptr(native::rd_kafka_error_string(error)).to_string_lossy().into_owned();
        native::rd_kafka_error_destroy(error);
        Err(says)
    }
}

/// Gives the client the brokers of its configuration once more. It forgets them when metadata names others, and those when
/// metadata names none, as a lone broker does whose controller has fenced it: then it knows no broker, and never connects
/// again.
pub(crate) fn brokers<C: ClientContext>(client: &Client<C>, brokers: &str) {
    let Ok(brokers) = CString::new(brokers) else { return };
    // SAFETY: the client lives as long as it is borrowed; the text is a C string that the call copies.
    unsafe { native::rd_kafka_brokers_add(client.native_ptr(), brokers.as_ptr()) };
}
