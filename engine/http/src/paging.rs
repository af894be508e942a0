//! Pages of lists.
//!
//! A cursor belongs to a list with its filters. It contains a fingerprint of them, so that a cursor returned with other filters is
//! rejected instead of silently skipping rows. The `Link` header links to the next page (RFC 8288), beside `next_cursor` in the body.

use orderlog_readmodel::{Cursor, Page, Paging};
use poem::{Request, http::Uri};
use poem_openapi::registry::MetaSchema;
use serde::Deserialize;

use crate::{
    answer::Listed,
    list::ListBody,
    params::parameters,
    problem::{ApiError, codes},
};

/// The default number of rows on a page.
pub const LIMIT: u32 = 20;

/// The page and list that a request asks for: its parameters `limit` and `cursor`, and its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paged {
    uri: Uri,
    limit: u32,
}

#[derive(Deserialize)]
struct Limit {
    limit: Option<u32>,
}

impl Paged {
    /// Returns the requested page.
    ///
    /// # Errors
    /// 400 if the cursor belongs to another list, or to this one with other filters.
    pub fn paging(&self) -> Result<Paging, ApiError> {
        let after = self.cursor().map(|cursor| match cursor.split_once('.') {
            Some((mark, place)) if mark == self.mark() => Ok(Cursor::new(place)),
            _ => {
                let detail = "it must be the `next_cursor` of this list with the same filters";
                Err(ApiError::parameter("cursor", codes::INVALID_CURSOR, detail))
            }
        });
        Ok(Paging { after: after.transpose()?, limit: self.limit })
    }

    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Returns the raw cursor, for the service that owns the list.
    pub fn cursor(&self) -> Option<&str> {
        let given = parameters(self.uri.query()).find(|(name, _)| *name == "cursor");
        given.map(|(_, pair)| pair.split_once('=').map_or("", |(_, cursor)| cursor))
    }

    /// Creates the response with these rows.
    pub fn list<R, T>(&self, page: Page<R>, show: impl Fn(R) -> T) -> Listed<ListBody<T>> {
        self.answer(page, show, |items, next_cursor| ListBody { items, next_cursor })
    }

    /// Creates the response with these rows and further fields. `list` builds it from the items and the next page's cursor.
    pub fn answer<R, T, L>(
        &self,
        page: Page<R>,
        show: impl Fn(R) -> T,
        list: impl FnOnce(Vec<T>, Option<String>) -> L,
    ) -> Listed<L> {
        let next = page.next.as_ref().map(|place| format!("{}.{place}", self.mark()));
        let link = next.as_deref().map(|cursor| self.link(cursor));
        Listed::new(list(page.items.into_iter().map(show).collect(), next), link)
    }

    /// Returns the link to the page after `cursor`.
    pub fn link(&self, cursor: &str) -> String {
        let own = format!("cursor={cursor}");
        let query: Vec<_> = self.all_but(&["cursor"]).chain([own.as_str()]).collect();
        // Nothing in the query ends the link's target: the HTTP library rejects a `>` in it.
        format!("<{}?{}>; rel=\"next\"", self.uri.path(), query.join("&"))
    }

    /// A fingerprint of the list and its filters.
    fn mark(&self) -> String {
        let mut filters: Vec<_> = self.all_but(&["cursor", "limit"]).collect();
        filters.sort_unstable();
        let mut hasher = blake3::Hasher::new();
        for part in [self.uri.path()].into_iter().chain(filters) {
            hasher.update(part.as_bytes()).update(b"\n");
        }
        hasher.finalize().to_hex()[..8].to_owned()
    }

    /// Returns the raw parameters except `left_out`.
    fn all_but(&self, left_out: &[&str]) -> impl Iterator<Item = &str> {
        parameters(self.uri.query()).filter(|(name, _)| !left_out.contains(name)).map(|(_, pair)| pair)
    }
}

crate::request_parameter!(Paged, Query, MetaSchema::new("string"), |request: &Request| {
    // The framework has checked it, since it is a parameter of its own.
    let limit = request.params::<Limit>().ok().and_then(|given| given.limit).unwrap_or(LIMIT);
    Ok(Paged { uri: request.uri().clone(), limit })
});

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uri: &str) -> Paged {
        Paged { uri: uri.parse().unwrap(), limit: LIMIT }
    }

    fn next_of(uri: &str) -> String {
        let page = Page { items: vec![()], next: Some(Cursor::new("7")) };
        let mut given = None;
        let listed = of(uri).answer(page, |()| (), |_, next| given = next);
        let (cursor, link) = (given.unwrap(), listed.next().unwrap().to_owned());
        assert!(link.contains(&cursor), "{link} leads to the page behind {cursor}");
        cursor
    }

    #[test]
    fn a_cursor_counts_for_its_list_and_filters_only() {
        let cursor = next_of("/orders?state=placed&limit=2&payment=paid");
        for same in ["/orders?state=placed&payment=paid", "/orders?payment=paid&limit=50&state=placed"] {
            let paging = of(&format!("{same}&cursor={cursor}")).paging();
            assert_eq!(paging.unwrap().after, Some(Cursor::new("7")), "{same}");
        }
        for other in
            ["/orders?state=placed", "/orders?state=placed&payment=unpaid", "/billing?state=placed&payment=paid"]
        {
            assert!(of(&format!("{other}&cursor={cursor}")).paging().is_err(), "{other}");
        }
        for wrong in ["", "7", "x.7", "."] {
            assert!(of(&format!("/orders?cursor={wrong}")).paging().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_link_leads_to_the_next_page_of_the_same_list() {
        let link = of("/orders?state=placed&cursor=old&limit=2").link("new");
        assert_eq!(link, "</orders?state=placed&limit=2&cursor=new>; rel=\"next\"");
        assert_eq!(of("/orders").link("new"), "</orders?cursor=new>; rel=\"next\"");
    }
}
