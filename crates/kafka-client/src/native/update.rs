//! What a client that runs has to be told and the wrapper of the library cannot tell it: another password, and its brokers.

use std::ffi::{CStr, CString};

use rdkafka::bindings as native;
use rdkafka::client::{Client, ClientContext};

/// From now on each login is made with this password; connections that are open stay as they are. Only for PLAIN and SCRAM:
/// of certificates and keys the library reads no others once a client is made. An error is the library's own words.
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

/// Tells the client the brokers of its configuration once more. It forgets them when the cluster has told it others, and
/// those when a cluster tells it none, as a lone broker does that stood still for so long that its controller gave it up:
/// then it knows nobody whom it could ask, and never asks again.
pub(crate) fn brokers<C: ClientContext>(client: &Client<C>, brokers: &str) {
    let Ok(brokers) = CString::new(brokers) else { return };
    // SAFETY: the client lives as long as it is borrowed; the text is a C string that the call copies.
    unsafe { native::rd_kafka_brokers_add(client.native_ptr(), brokers.as_ptr()) };
}
