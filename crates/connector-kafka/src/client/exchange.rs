//! Another password for a client that runs, which the wrapper of the library cannot give it.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};

use rdkafka::bindings as native;
use rdkafka::client::{Client, ClientContext};

/// From now on each login is made with this password; connections that are open stay as they are. Only for PLAIN and SCRAM:
/// of certificates and keys the library reads no others once a client is made. An error is the library's own words.
pub(super) fn password<C: ClientContext>(
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
