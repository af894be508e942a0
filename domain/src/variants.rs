//! What the enums of the domain have in common: access to their variants, names, fields.

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

/// Gives an enum without data the names that its variants have in JSON, also as its `Display`.
macro_rules! words {
    ($enum:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $enum {
            /// The name in JSON.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl std::fmt::Display for $enum {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// Declares, for fields that the values of all variants have, the functions that return them.
macro_rules! fields_of_all {
    ($enum:ident $variants:tt $($field:ident: $type:ty),+ $(,)?) => {
        impl $enum {
            $(pub const fn $field(&self) -> $type {
                fields_of_all!(@match self $variants $field)
            })+
        }
    };
    (@match $self:ident { $($variant:ident),+ $(,)? } $field:ident) => {
        match $self {
            $(Self::$variant(value) => value.$field,)+
        }
    };
}
