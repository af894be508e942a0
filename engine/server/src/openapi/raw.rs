//! The documents that the framework generates from routes.

use std::marker::PhantomData;

use orderlog_http::service::mounted::RouteTable;
use poem_openapi::{
    LicenseObject, OpenApi, OpenApiService, ServerObject,
    registry::{MetaApi, Registry},
};
use serde_json::Value;

/// The routes of `T`, described without a running service.
struct Described<T>(PhantomData<fn() -> T>);

impl<T: OpenApi> OpenApi for Described<T> {
    fn meta() -> Vec<MetaApi> {
        T::meta()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn add_routes(self, _: &mut RouteTable) {}
}

/// The generated document for the routes of `T`.
pub fn generated<T: OpenApi>(title: String) -> Value {
    let service = OpenApiService::new(Described::<T>(PhantomData), title, env!("CARGO_PKG_VERSION"))
        .license(LicenseObject::new("MIT OR Apache-2.0"))
        .server(ServerObject::new("/").description("this process"));
    serde_json::from_str(&service.spec()).expect("the framework writes JSON")
}
