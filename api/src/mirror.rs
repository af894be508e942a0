//! Enums of bodies with the same variants as one of the domain. They are types of their own, because a published name and a stored one
//! change for different reasons.

/// Declares such an enum, with the conversions from and to the domain's.
macro_rules! mirror {
    ($(#[$doc:meta])* pub enum $name:ident of $stored:ty { $($(#[$variant_doc:meta])* $variant:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, poem_openapi::Enum, serde::Deserialize, serde::Serialize)]
        #[oai(rename_all = "snake_case")]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl From<$stored> for $name {
            fn from(stored: $stored) -> Self {
                type Stored = $stored;
                match stored {
                    $(Stored::$variant => Self::$variant,)+
                }
            }
        }

        impl From<$name> for $stored {
            fn from(shown: $name) -> Self {
                match shown {
                    $($name::$variant => Self::$variant,)+
                }
            }
        }
    };
}
