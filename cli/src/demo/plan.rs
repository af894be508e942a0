//! What happens in the shop of `serve --demo N`: a stream of steps, the same for each size. Pure; [`super::shop`] executes it.

use std::collections::VecDeque;

use fastrand::Rng;

/// The seed of every plan.
const SEED: u64 = 16;

const GIVEN_NAMES: [&str; 32] = [
    "Ada", "Amir", "Anna", "Ben", "Carla", "Chen", "Clara", "David", "Elif", "Emma", "Felix", "Greta", "Hana", "Ines",
    "Ivan", "Jonas", "Julia", "Kofi", "Lars", "Leila", "Luca", "Maja", "Marco", "Mira", "Nils", "Noor", "Olga",
    "Pablo", "Rosa", "Sami", "Tara", "Viktor",
];
const FAMILY_NAMES: [&str; 32] = [
    "Adler", "Bauer", "Bianchi", "Brandt", "Costa", "Diaz", "Eriksen", "Fischer", "Garcia", "Haas", "Ito", "Jansen",
    "Kaya", "Keller", "Kumar", "Larsen", "Lehmann", "Lopez", "Maier", "Mensah", "Moreau", "Nowak", "Okafor", "Peters",
    "Rossi", "Sato", "Schmidt", "Silva", "Tanaka", "Vogel", "Weber", "Wolf",
];
const DOMAINS: [&str; 3] = ["example.com", "example.net", "example.org"];

/// Kinds of products, with the price in cents of the cheapest variant.
const KINDS: [(&str, u32); 20] = [
    ("espresso-beans", 1290),
    ("filter-coffee", 990),
    ("mug", 1150),
    ("paper-filters", 390),
    ("milk-jug", 1990),
    ("green-tea", 690),
    ("moka-pot", 2990),
    ("hand-grinder", 5900),
    ("travel-cup", 2450),
    ("cocoa", 790),
    ("pour-over-set", 3490),
    ("kettle", 6900),
    ("scale", 4500),
    ("biscotti", 490),
    ("syrup", 850),
    ("cold-brew-bottle", 2790),
    ("tamper", 3200),
    ("cleaning-tablets", 1190),
    ("gift-box", 3900),
    ("grinder", 18900),
];
const VARIANTS: [&str; 10] =
    ["classic", "house", "dark", "light", "organic", "small", "large", "festive", "limited", "reserve"];
const CHANNELS: [&str; 4] = ["web", "app", "store", "phone"];

/// How orders go that can be supplied: each turn of 25 orders has all of these, in another order.
const FATES: [(Fate, usize); 9] = [
    (Fate::Fulfilled, 12),
    (Fate::PaidInParts, 3),
    (Fate::Refunded, 2),
    (Fate::Paid, 2),
    (Fate::Unpaid, 2),
    (Fate::Overpaid, 1),
    (Fate::PartlyPaid, 1),
    (Fate::Cancelled, 1),
    (Fate::CancelledPaid, 1),
];

/// What becomes of an order whose stock is reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Paid exactly, then shipped.
    Fulfilled,
    /// Paid in two parts, then shipped.
    PaidInParts,
    /// A payment of too much is refused. Then paid exactly and shipped.
    Overpaid,
    /// Shipped; later a part of the price is refunded.
    Refunded,
    /// Paid, and waiting to be shipped.
    Paid,
    PartlyPaid,
    Unpaid,
    Cancelled,
    /// Cancelled after it was paid.
    CancelledPaid,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub name: String,
    /// The e-mail address without the part that makes it new.
    pub mailbox: String,
    pub domain: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    pub sku: String,
    /// In cents.
    pub price: u32,
    /// The number of items in a delivery.
    pub delivery: u32,
    /// The stock is low while fewer are available.
    pub threshold: u32,
}

/// A step; customers and products are indices into those of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Delivery { product: usize },
    Purchase { customer: usize, lines: Vec<(usize, u32)>, channel: &'static str, fate: Fate },
}

/// An endless stream of steps.
pub struct Plan {
    pub people: Vec<Person>,
    pub products: Vec<Product>,
    rng: Rng,
    /// The sums of the products' weights, up to each: the first ones sell best.
    weights: Vec<f64>,
    /// What is left of each product, of which there is one delivery at first, if all orders are decided in turn.
    left: Vec<u32>,
    fates: Vec<Fate>,
    next: VecDeque<Step>,
}

impl Plan {
    /// A plan for a shop in which a customer places about 20 of `n_orders`, and a product sells out a few times.
    pub fn new(n_orders: u32) -> Self {
        let mut rng = Rng::with_seed(SEED);
        let n_people = (n_orders / 20).clamp(8, 800) as usize;
        let n_products = (n_orders as usize / 50).clamp(10, KINDS.len() * VARIANTS.len());
        let people = (0..n_people).map(|n| person(n, &mut rng)).collect();
        let shares = (1..=n_products).map(|rank| 1.0 / rank as f64);
        let mut sum = 0.0;
        let mut weights = Vec::with_capacity(n_products);
        for share in shares.clone() {
            sum += share;
            weights.push(sum);
        }
        // An order has about three items.
        let demand = shares.map(|share| 3.0 * f64::from(n_orders) * share / sum);
        let products: Vec<_> = demand.enumerate().map(|(n, demand)| product(n, demand)).collect();
        let left = products.iter().map(|product| product.delivery).collect();
        Self { people, products, rng, weights, left, fates: Vec::new(), next: VecDeque::new() }
    }

    fn purchase(&mut self) -> Step {
        let (n_people, n_lines) = (self.people.len(), self.rng.usize(1..=3));
        // The square of a fraction makes some customers regulars.
        let customer = (self.rng.f64().powi(2) * n_people as f64) as usize;
        let mut lines: Vec<(usize, u32)> = Vec::with_capacity(n_lines);
        for _ in 0..n_lines {
            let product = self.popular();
            if !lines.iter().any(|(known, _)| *known == product) {
                lines.push((product, self.rng.u32(1..=2)));
            }
        }
        let short: Vec<usize> =
            lines.iter().filter(|(it, wanted)| self.left[*it] < *wanted).map(|(it, _)| *it).collect();
        if short.is_empty() {
            lines.iter().for_each(|(product, quantity)| self.left[*product] -= quantity);
        }
        for product in &short {
            self.left[*product] += self.products[*product].delivery;
        }
        // An order that can't be supplied is rejected, whatever its fate would be.
        let fate = if short.is_empty() { self.fate() } else { Fate::Unpaid };
        self.next.extend(short.into_iter().map(|product| Step::Delivery { product }));
        let channel = CHANNELS[self.rng.usize(..CHANNELS.len())];
        Step::Purchase { customer: customer.min(n_people - 1), lines, channel, fate }
    }

    fn popular(&mut self) -> usize {
        let at = self.rng.f64() * self.weights.last().copied().unwrap_or_default();
        self.weights.partition_point(|sum| *sum <= at).min(self.products.len() - 1)
    }

    fn fate(&mut self) -> Fate {
        if self.fates.is_empty() {
            self.fates = FATES.iter().flat_map(|(fate, n)| std::iter::repeat_n(*fate, *n)).collect();
            self.rng.shuffle(&mut self.fates);
        }
        self.fates.pop().unwrap_or(Fate::Fulfilled)
    }
}

impl Iterator for Plan {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        Some(self.next.pop_front().unwrap_or_else(|| self.purchase()))
    }
}

fn person(n: usize, rng: &mut Rng) -> Person {
    let given = GIVEN_NAMES[rng.usize(..GIVEN_NAMES.len())];
    let family = FAMILY_NAMES[rng.usize(..FAMILY_NAMES.len())];
    let mailbox = format!("{}.{}{n}", given.to_lowercase(), family.to_lowercase());
    Person { name: format!("{given} {family}"), mailbox, domain: DOMAINS[n % DOMAINS.len()] }
}

/// The `n`th best-selling product.
fn product(n: usize, demand: f64) -> Product {
    let ((kind, base), variant) = (KINDS[n % KINDS.len()], n / KINDS.len());
    let delivery = ((demand / 3.0) as u32).max(6);
    let dearer = variant as u32 * base / 20;
    Product {
        sku: format!("{kind}-{}", VARIANTS[variant]),
        price: (base + dearer) / 10 * 10,
        delivery,
        threshold: (delivery / 5).max(2),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use super::*;

    type Purchase = (usize, Vec<(usize, u32)>, Fate);

    fn purchases(n: usize) -> Vec<Purchase> {
        let of_purchase = |step| match step {
            Step::Purchase { customer, lines, fate, .. } => Some((customer, lines, fate)),
            Step::Delivery { .. } => None,
        };
        Plan::new(n as u32).filter_map(of_purchase).take(n).collect()
    }

    #[test]
    fn a_plan_is_the_same_each_time() {
        for n_orders in [1, 40, 10_000] {
            let steps = || Plan::new(n_orders).take(500).collect::<Vec<_>>();
            assert_eq!(steps(), steps());
            assert_eq!(Plan::new(n_orders).people, Plan::new(n_orders).people);
        }
    }

    #[test]
    fn a_large_shop_has_regulars_and_a_long_tail() {
        let plan = Plan::new(10_000);
        let skus: BTreeSet<_> = plan.products.iter().map(|product| &product.sku).collect();
        let mailboxes: BTreeSet<_> = plan.people.iter().map(|person| &person.mailbox).collect();
        assert_eq!((skus.len(), mailboxes.len()), (200, 500), "none is there twice");
        let (mut sold, mut bought) = (HashMap::new(), HashMap::new());
        for (customer, lines, _) in purchases(10_000) {
            *bought.entry(customer).or_insert(0) += 1;
            lines.iter().for_each(|(product, _)| *sold.entry(*product).or_insert(0) += 1);
        }
        assert!(bought.len() > 450 && bought[&0] > 5 * bought[&400], "{bought:?}");
        assert!(sold.len() > 180 && sold[&0] > 20 * sold[&100], "{sold:?}");
    }

    #[test]
    fn forty_orders_have_every_fate_and_some_cannot_be_supplied() {
        for n_orders in [40, 10_000] {
            let purchases = purchases(n_orders);
            let n_of = |fate| purchases.iter().filter(|(_, _, it)| *it == fate).count();
            for (fate, n) in FATES {
                let share = n_of(fate) * 25 / n_orders;
                assert!(n_of(fate) >= n && share <= n + 4, "{n_orders}: {fate:?} {}", n_of(fate));
            }
            let n_deliveries =
                Plan::new(n_orders as u32).take(n_orders).filter(|step| matches!(step, Step::Delivery { .. })).count();
            assert!(n_deliveries > 0 && n_deliveries < n_orders / 5, "{n_orders}: {n_deliveries}");
        }
    }
}
