//! Access to an entity as one of its variants.

/// Declares, for variants of an enum, a function that borrows its value and one that takes it.
macro_rules! variants {
    ($entity:ident { $($variant:ident($value:ty) $borrow:ident $take:ident),+ $(,)? }) => {
        impl $entity {
            $(
                pub const fn $borrow(&self) -> Option<&$value> {
                    if let Self::$variant(value) = self { Some(value) } else { None }
                }

                pub fn $take(self) -> Option<$value> {
                    if let Self::$variant(value) = self { Some(value) } else { None }
                }
            )+
        }
    };
}
