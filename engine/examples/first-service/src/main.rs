//! A complete service: vouchers are issued, and redeemed in parts; that a balance became low is published.

use orderlog_server::prelude::*;

const VOUCHERS: Kind = "vouchers";
const LOW_CENTS: u64 = 500;

/// A voucher. The event, the row's document and the answer share this type; give each its own before they have to differ.
#[derive(Clone, Debug, PartialEq, Eq, Object, Schema, Serialize, Deserialize)]
pub struct Voucher {
    pub id: Uuid,
    /// What is left, in cents.
    pub balance: u64,
    /// Counts the changes of this voucher, from 1.
    pub version: u64,
}

fn aggregate(id: Uuid) -> Ref {
    Ref::new(VOUCHERS, Key::of(id))
}

/// What callers ask for: a voucher's id, and an amount in cents.
#[derive(Clone, Debug)]
pub enum Command {
    Issue(Uuid, u64),
    Redeem(Uuid, u64),
}

/// What happened, and the voucher afterwards. Its JSON is stored permanently: add variants and optional fields, rename none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    Issued { voucher: Voucher },
    Redeemed { voucher: Voucher, amount: u64 },
}

fn voucher_of((Event::Issued { voucher } | Event::Redeemed { voucher, .. }): &Event) -> &Voucher {
    voucher
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Rejection {
    #[error("there is no voucher {0}")]
    Unknown(Uuid),
    #[error("the balance is only {0} cents")]
    BalanceTooLow(u64),
}

public_events! {
    pub enum Published by Vouchers::JOURNAL {
        /// The balance of a voucher became low.
        Low(Voucher) = "voucher.low", id;
    }
}

#[derive(Clone)]
pub struct Vouchers;

/// The rules, as pure functions.
impl Decider for Vouchers {
    const JOURNAL: &'static str = "vouchers";
    type Command = Command;
    type Event = Event;
    type Entity = Voucher;
    type Rejection = Rejection;
    type Published = Published;
    type Heard = Nothing;

    fn decide(command: &Command, view: &View<'_, Voucher>, _now: Millis) -> Result<Event, Rejection> {
        match *command {
            Command::Issue(id, balance) => Ok(Event::Issued { voucher: Voucher { id, balance, version: 1 } }),
            Command::Redeem(id, amount) => {
                let Voucher { balance, version, .. } = *view.get(&aggregate(id)).ok_or(Rejection::Unknown(id))?;
                let balance = balance.checked_sub(amount).ok_or(Rejection::BalanceTooLow(balance))?;
                Ok(Event::Redeemed { voucher: Voucher { id, balance, version: version + 1 }, amount })
            }
        }
    }

    /// What `If-Match` is compared with.
    fn target(command: &Command) -> Option<Ref> {
        if let Command::Redeem(id, _) = command { Some(aggregate(*id)) } else { None }
    }

    fn kind(event: &Event) -> &'static str {
        if let Event::Issued { .. } = event { "voucher_issued" } else { "voucher_redeemed" }
    }

    /// Two commands that touch the same voucher at once: the log accepts one, the other is decided again.
    fn touches(event: &Event) -> Vec<Ref> {
        vec![Ref { minted: matches!(event, Event::Issued { .. }), ..aggregate(voucher_of(event).id) }]
    }

    fn evolve(_: Option<Voucher>, _: usize, event: &Event, _: &At) -> Voucher {
        voucher_of(event).clone()
    }

    fn publish(event: &Event) -> Vec<Published> {
        let Event::Redeemed { voucher, amount } = event else { return Vec::new() };
        let became_low = voucher.balance < LOW_CENTS && voucher.balance + amount >= LOW_CENTS;
        became_low.then(|| Published::Low(voucher.clone())).into_iter().collect()
    }
}

const READ: Scope = Scope::new("vouchers:read");
const WRITE: Scope = Scope::new("vouchers:write");

problem_codes! {
    /// There is no such voucher.
    UNKNOWN_VOUCHER "unknown_voucher" [404], Declared,
        says "there is no voucher 019a0000-0000-7000-8000-000000000001", so "Check the id.";
    /// The voucher has less than the amount.
    BALANCE_TOO_LOW "balance_too_low" [409], Declared, says "the balance is only 120 cents", so "Redeem less.";
}

#[derive(Object, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cents {
    #[oai(validator(minimum(value = "1"), maximum(value = "1000000")))]
    cents: u64,
}

impl Checked for Cents {
    type Values = u64;

    fn checked(self) -> ApiResult<u64> {
        Fault::unless_in(1..=1_000_000, "#/cents", self.cents)
    }
}

pub struct VouchersApi(Service<Vouchers>);

#[operations]
#[OpenApi(prefix_path = "/vouchers")]
impl VouchersApi {
    /// Issue a voucher
    #[operation(post = "/", scope = WRITE, bound = refused, no_target)]
    async fn issue_voucher(&self, head: CommandHeaders, body: Given<Cents>) -> ApiResult<Created<Voucher>> {
        let command = Command::Issue(mint(), body.0);
        let executed = self.0.execute(command, head, || "POST /vouchers".to_owned()).await?;
        let voucher = voucher_of(&executed.accepted.event);
        Ok(Created::new(&executed, voucher.clone(), voucher.version).at(format!("/vouchers/{}", voucher.id)))
    }

    /// Redeem a voucher or a part of it
    #[operation(post = "/:id/redeem", scope = WRITE, bound = refused, problems(UNKNOWN_VOUCHER, BALANCE_TOO_LOW))]
    async fn redeem_voucher(&self, id: Path<Uuid>, head: CommandHeaders, by: Given<Cents>) -> ApiResult<Done<Voucher>> {
        let operation = || format!("POST /vouchers/{}/redeem", id.0);
        let executed = self.0.execute(Command::Redeem(id.0, by.0), head, operation).await?;
        let voucher = voucher_of(&executed.accepted.event);
        Ok(Done::new(&executed, voucher.clone(), voucher.version))
    }

    /// Get a voucher
    #[operation(get = "/:id", scope = READ, bound = refused, problems(UNKNOWN_VOUCHER))]
    async fn get_voucher(&self, id: Path<Uuid>, as_of: AsOf, seen: Freshness) -> ApiResult<Found<Voucher>> {
        let looked = self.0.look(aggregate(id.0), as_of.0.as_deref(), &seen, Visibility::ToAll).await?;
        let (voucher, position) = looked.found(Some, || Vouchers::problem_of(Rejection::Unknown(id.0)))?;
        Ok(Found::new(voucher.clone(), voucher.version).at(position))
    }

    /// List vouchers, newest first
    #[operation(get = "/", scope = READ, bound = refused)]
    async fn list_vouchers(&self, page: Paged, seen: Freshness) -> ApiResult<Listed<ListBody<Voucher>>> {
        let rows = self.0.fresh_rows(&seen).await?;
        Ok(page.list(rows.newest(VOUCHERS, &page.paging()?).await?, |voucher| voucher))
    }
}

impl ListItem for Voucher {}

impl ServiceDefinition for Vouchers {
    type Decider = Self;
    type Api = VouchersApi;
    const TABLES: &'static Tables<Vouchers> = &Tables::new(1, &[Table::of(VOUCHERS)]);
    const ABOUT: &'static str = "Vouchers, and what they are worth";
    const CODES: &'static [Code] = ALL;

    /// A repeated `Idempotency-Key` with another text is rejected.
    fn fingerprint((Command::Issue(_, cents) | Command::Redeem(_, cents)): &Command) -> String {
        cents.to_string()
    }

    fn problem_of(rejection: Rejection) -> ApiError {
        match rejection {
            Rejection::Unknown(_) => ApiError::not_found(UNKNOWN_VOUCHER, rejection.to_string()),
            Rejection::BalanceTooLow(_) => ApiError::conflict(BALANCE_TOO_LOW, rejection.to_string()),
        }
    }

    async fn start(parts: &Parts) -> Result<Mounted, NotStarted> {
        parts.mount::<Self>(VouchersApi).await
    }
}

static PROGRAM: Registry = Registry::new("first-service", "Vouchers on an append-only log.", &[&Vouchers]);

fn main() -> ExitCode {
    program::main(&PROGRAM)
}
