//! Lists in responses: a page of items, and the cursor of the next page.

use std::borrow::Cow;

use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef, Registry},
    types::Type,
};
use serde::{Deserialize, Serialize};

/// An object that can be listed.
pub trait ListItem: Type {
    /// The name of the list's schema.
    fn list_name() -> String {
        format!("{}List", Self::name())
    }
}

/// A page of a list. `next_cursor` is absent on the last one.
#[derive(Debug, Deserialize, Serialize)]
pub struct ListBody<T> {
    /// The objects on this page.
    pub items: Vec<T>,
    /// The `cursor` of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl<T> From<Vec<T>> for ListBody<T> {
    fn from(items: Vec<T>) -> Self {
        Self { items, next_cursor: None }
    }
}

impl<T: ListItem> Type for ListBody<T> {
    const IS_REQUIRED: bool = true;

    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        T::list_name().into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Reference(T::list_name())
    }

    fn register(registry: &mut Registry) {
        registry.create_schema::<Self, _>(T::list_name(), |registry| {
            T::register(registry);
            let described = |schema: MetaSchemaRef, description| {
                schema.merge(MetaSchema { description: Some(description), ..MetaSchema::ANY })
            };
            let next = "Pass this as `cursor` to get the next page; absent on the last one.";
            MetaSchema {
                title: Some(T::list_name()),
                description: Some("One page of a list."),
                required: vec!["items"],
                properties: vec![
                    ("items", described(Vec::<T>::schema_ref(), "The items on this page.")),
                    ("next_cursor", described(String::schema_ref(), next)),
                ],
                ..MetaSchema::new("object")
            }
        });
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}
