//! Scopes: one per group of operations. Each service declares its own; those of operators are here.

use std::{collections::BTreeSet, fmt, sync::Arc};

use serde::{Serialize, Serializer};

/// A permission of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope(&'static str);

impl Scope {
    /// Read the status of read models, and the log.
    pub const ADMIN_READ: Self = Self::new("admin:read");
    /// Rebuild read models, and make snapshots of them.
    pub const ADMIN_REBUILD: Self = Self::new("admin:rebuild");

    /// Creates a scope with its name in keys and tokens: `group:action`.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// Returns the name, as in keys and tokens.
    pub const fn as_str(self) -> &'static str {
        self.0
    }

    /// Whether the scope is for operators.
    pub fn is_for_operators(self) -> bool {
        self.0.starts_with("admin:")
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

/// The scopes of a deployment, in display order: those of its services, then those of operators.
#[derive(Clone, Debug)]
pub struct Scopes(Arc<[Scope]>);

impl Scopes {
    /// Combines the scopes of services, each once, with those of operators.
    pub fn new(of_services: impl IntoIterator<Item = Scope>) -> Self {
        let mut all: Vec<Scope> = Vec::new();
        for scope in of_services.into_iter().chain([Scope::ADMIN_READ, Scope::ADMIN_REBUILD]) {
            if !all.contains(&scope) {
                all.push(scope);
            }
        }
        Self(all.into())
    }

    pub fn find(&self, name: &str) -> Option<Scope> {
        self.0.iter().copied().find(|scope| scope.0 == name)
    }

    /// Returns the scopes that `text` matches: a single one, all of a group (`orders:*`), or all (`*`).
    ///
    /// # Errors
    /// A message with the available scopes.
    pub fn meant_by(&self, text: &str) -> Result<BTreeSet<Scope>, String> {
        let is_meant = |scope: &Scope| match text.strip_suffix('*') {
            // `o*` is a typo.
            Some(group) if group.is_empty() || group.ends_with(':') => scope.0.starts_with(group),
            Some(_) | None => scope.0 == text,
        };
        let found: BTreeSet<Scope> = self.0.iter().copied().filter(is_meant).collect();
        if found.is_empty() { Err(self.unknown(text)) } else { Ok(found) }
    }

    /// Returns the scopes with these names, each once, in display order.
    ///
    /// # Errors
    /// A message with the unknown name and the available scopes.
    pub fn in_order<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<Vec<Scope>, String> {
        let names = names.into_iter().map(|name| self.find(name).ok_or_else(|| self.unknown(name)));
        names.collect::<Result<_, _>>().map(|named| self.ordered(&named))
    }

    /// Returns these scopes in display order.
    pub fn ordered(&self, scopes: &BTreeSet<Scope>) -> Vec<Scope> {
        self.0.iter().copied().filter(|scope| scopes.contains(scope)).collect()
    }

    fn unknown(&self, name: &str) -> String {
        let all: Vec<&str> = self.0.iter().map(|scope| scope.0).collect();
        format!("there is no scope `{name}`; there are: {}", all.join(", "))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub const READ: Scope = Scope::new("things:read");
    pub const WRITE: Scope = Scope::new("things:write");

    pub fn scopes() -> Scopes {
        Scopes::new([READ, WRITE])
    }

    #[test]
    fn scopes_are_named_one_by_one_or_by_group() {
        assert_eq!(scopes().meant_by("things:read"), Ok([READ].into()));
        assert_eq!(scopes().meant_by("things:*"), Ok([READ, WRITE].into()));
        let all = [READ, WRITE, Scope::ADMIN_READ, Scope::ADMIN_REBUILD];
        assert_eq!(scopes().meant_by("*"), Ok(all.into()));
        for wrong in ["", "things", "t*", "things*", "shipping:*", "things:delete", "things:r*"] {
            assert!(scopes().meant_by(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn scopes_are_listed_in_the_order_in_which_they_are_declared() {
        assert_eq!(
            scopes().in_order(["admin:read", "things:write", "things:read", "things:write"]).unwrap(),
            [READ, WRITE, Scope::ADMIN_READ]
        );
        assert!(scopes().in_order(["things:read", "things:delete"]).unwrap_err().contains("`things:delete`"));
    }
}
