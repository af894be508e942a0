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
    const LIST: &'static str;
    /// The contents and order of the list.
    const ABOUT: &'static str;
    /// The description of `items`.
    const ITEMS: &'static str = "The items on this page.";
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
        T::LIST.into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Reference(T::LIST.to_owned())
    }

    fn register(registry: &mut Registry) {
        registry.create_schema::<Self, _>(T::LIST.to_owned(), |registry| {
            T::register(registry);
            let described = |schema: MetaSchemaRef, description| {
                schema.merge(MetaSchema { description: Some(description), ..MetaSchema::ANY })
            };
            let next = "Pass this as `cursor` to get the next page; absent on the last one.";
            MetaSchema {
                title: Some(T::LIST.to_owned()),
                description: Some(T::ABOUT),
                required: vec!["items"],
                properties: vec![
                    ("items", described(Vec::<T>::schema_ref(), T::ITEMS)),
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
