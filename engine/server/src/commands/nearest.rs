//! "Did you mean": the nearest of several words to the one that was typed.

/// Collects the nearest word.
pub struct Nearest {
    typed: String,
    wanted: String,
    /// The word and its distance.
    best: Option<(usize, String)>,
}

impl Nearest {
    pub fn to(wanted: &str) -> Self {
        Self { typed: wanted.to_owned(), wanted: folded(wanted), best: None }
    }

    /// Considers a word. It is near if about a quarter of the letters differ, or if it begins with what was typed.
    pub fn look_at(&mut self, word: &str) {
        if self.best.as_ref().is_some_and(|(_, best)| best == word) {
            return;
        }
        let n_letters = self.wanted.chars().count();
        let folded = folded(word);
        let is_beginning = n_letters >= 3 && folded.starts_with(&self.wanted);
        let distance = if is_beginning { 1 } else { strsim::osa_distance(&self.wanted, &folded) };
        let is_near = distance <= n_letters / 4 + 1 && distance < folded.chars().count();
        if is_near && self.best.as_ref().is_none_or(|(best, _)| distance < *best) {
            self.best = Some((distance, word.to_owned()));
        }
    }

    /// The question to append to a message; empty if no word is near, or if it is the one that was typed.
    pub fn question(&self) -> String {
        let without_dashes = |word: &str| word.replace('-', "");
        let is_other = |word: &&String| without_dashes(word) != without_dashes(&self.typed);
        let other = self.best.as_ref().map(|(_, word)| word).filter(is_other);
        other.map_or_else(String::new, |word| format!("; did you mean `{word}`?"))
    }
}

/// Case and the dashes of ids don't matter.
fn folded(word: &str) -> String {
    word.replace('-', "").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nearest(wanted: &str, words: &[&str]) -> String {
        let mut nearest = Nearest::to(wanted);
        words.iter().for_each(|word| nearest.look_at(word));
        nearest.question()
    }

    #[test]
    fn only_a_near_word_is_suggested_and_the_nearest_one() {
        let topics = ["customers", "orders", "order.created", "order.cancelled", "low.stock"];
        for (wanted, found) in [
            ("ordres", "orders"),
            ("Orders", "orders"),
            ("oder.created", "order.created"),
            ("order.cre", "order.created"),
            ("low-stock", "low.stock"),
        ] {
            assert_eq!(nearest(wanted, &topics), format!("; did you mean `{found}`?"), "{wanted}");
        }
        for wanted in ["", "x", "nothing", "orders", "billing", "ord\u{e9}\u{e9}\u{e9}"] {
            assert_eq!(nearest(wanted, &topics), "", "{wanted}");
        }
        let (id, other) = ("019ad2f0-7c3e-7a11-8b00-3f5a9c1e2d47", "019ad2f0-7c3e-7f92-a4c1-90bb1d7740e3");
        assert_eq!(nearest("019ad2f07c3e7a118b003f5a9c1e2d74", &[other, id]), format!("; did you mean `{id}`?"));
        assert_eq!(nearest(id, &[other]), "", "ids of the same moment are not near");
    }
}
