//! The routes of the customers service.

pub mod codes;
pub mod email_keys;
pub mod scopes;

use chrono::{DateTime, Utc};
use orderlog_domain::{
    customers::{self, Address, Command, Customers, Rejection},
    orders::{self as orders_domain, Orders},
    paths::EXAMPLE_CUSTOMER,
    values::{CustomerId, Email, Name},
};
use orderlog_http::{peers::PeerError, prelude::*};
use orderlog_projections::customers as projections;
use orderlog_runtime::replica::ToSettle;

use self::email_keys::Collision;
use crate::{
    orders::{Order, OrderPayment, OrderState},
    values::CheckValues,
};

const ORDERS: ServiceName = ServiceName::of::<Orders>();

/// A new customer.
#[derive(Debug, Object, Deserialize, Serialize)]
#[oai(deny_unknown_fields, example)]
#[serde(deny_unknown_fields)]
pub struct CreateCustomer {
    /// A person's or company's name, 1 to 200 characters on one line, none of them invisible.
    #[oai(validator(min_length = 1, max_length = 200))]
    pub name: String,
    /// The bare e-mail address, without `mailto:`, quotes or angle brackets. It must be unique, however it is spelled:
    /// case, composed or decomposed letters, full-width forms and the ASCII form of the domain make no difference.
    #[oai(validator(max_length = 254))]
    pub email: String,
}

impl Example for CreateCustomer {
    fn example() -> Self {
        Self { name: "Ada Lovelace".to_owned(), email: "ada.lovelace@example.com".to_owned() }
    }
}

/// The changes to a customer; at least one field is required.
#[derive(Debug, Object, Deserialize, Serialize)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none, example)]
#[serde(deny_unknown_fields)]
pub struct UpdateCustomer {
    /// The new name, 1 to 200 characters on one line, none of them invisible.
    #[oai(validator(min_length = 1, max_length = 200))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The new e-mail address.
    #[oai(validator(max_length = 254))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

impl Example for UpdateCustomer {
    fn example() -> Self {
        Self { name: Some("Ada King, Countess of Lovelace".to_owned()), email: None }
    }
}

impl Checked for CreateCustomer {
    type Values = (Name, Email);

    fn checked(self) -> ApiResult<(Name, Email)> {
        let mut faults = Faults::default();
        let (name, email) = (Name::new(self.name), Email::new(self.email));
        match (faults.check("#/name", name), faults.check("#/email", email)) {
            (Some(name), Some(email)) => Ok((name, email)),
            (Some(_) | None, Some(_) | None) => Err(faults.into()),
        }
    }
}

impl Checked for UpdateCustomer {
    type Values = (Option<Name>, Option<Email>);

    fn checked(self) -> ApiResult<(Option<Name>, Option<Email>)> {
        if self.name.is_none() && self.email.is_none() {
            return Err(ApiError::invalid(codes::NOTHING_TO_CHANGE, "give a name, an e-mail address, or both"));
        }
        let mut faults = Faults::default();
        let name = faults.check_if("#/name", self.name.map(Name::new));
        let email = faults.check_if("#/email", self.email.map(Email::new));
        faults.none()?;
        Ok((name, email))
    }
}

/// A customer after a command.
#[derive(Debug, Object, Deserialize, Serialize)]
#[oai(example)]
pub struct CustomerChanged {
    /// The customer's id.
    pub customer_id: Uuid,
    /// The customer's name.
    pub name: String,
    /// The e-mail address, as entered.
    pub email: String,
    /// Whether the customer may place orders.
    pub active: bool,
    /// Incremented by every change to the customer.
    pub version: u64,
    /// When the change was made.
    pub changed_at: DateTime<Utc>,
}

impl Example for CustomerChanged {
    fn example() -> Self {
        let Customer { customer_id, name, email, active, version, created_at, .. } = Customer::example();
        Self { customer_id, name, email, active, version, changed_at: created_at }
    }
}

impl CustomerChanged {
    fn of(executed: &Executed<Customers>) -> Self {
        let facts = executed.accepted.event.customer();
        Self {
            customer_id: facts.customer_id.0,
            name: facts.name.as_str().to_owned(),
            email: facts.email.as_str().to_owned(),
            active: facts.active,
            version: facts.version,
            changed_at: time_of(&executed.accepted.at),
        }
    }
}

/// A customer.
#[derive(Clone, Debug, Object, Deserialize, Serialize)]
#[oai(example)]
pub struct Customer {
    /// The customer's id.
    pub customer_id: Uuid,
    /// The customer's name.
    pub name: String,
    /// The e-mail address, as entered.
    pub email: String,
    /// Whether the customer may place orders.
    pub active: bool,
    /// Incremented by every change to the customer.
    pub version: u64,
    /// When the customer was created.
    pub created_at: DateTime<Utc>,
    /// When the customer last changed.
    pub updated_at: DateTime<Utc>,
}

impl Example for Customer {
    fn example() -> Self {
        let CreateCustomer { name, email } = CreateCustomer::example();
        let (created_at, updated_at) = (time(1_790_000_000_000), time(1_790_000_000_000));
        let customer_id = EXAMPLE_CUSTOMER;
        Self { customer_id, name, email, active: true, version: 1, created_at, updated_at }
    }
}

impl From<&customers::Customer> for Customer {
    fn from(customer: &customers::Customer) -> Self {
        Self {
            customer_id: customer.customer_id.0,
            name: customer.name.as_str().to_owned(),
            email: customer.email.as_str().to_owned(),
            active: customer.active,
            version: customer.version,
            created_at: time(customer.created_ms),
            updated_at: time(customer.updated_ms),
        }
    }
}

impl ListItem for Customer {}

pub struct CustomersApi(Service<CustomersService>);

pub struct CustomersService;

impl ServiceDefinition for CustomersService {
    type Decider = Customers;
    type Api = CustomersApi;

    const TABLES: &'static Tables<Customers> = &projections::TABLES;
    const ABOUT: &'static str = "Customers, and whether they may place orders";
    const CODES: &'static [Code] = codes::ALL;
    const CALLS: &'static [Call] = &[(ORDERS, "`GET /customers/{customer_id}/orders` answers 503")];

    fn fingerprint(command: &Command) -> String {
        command.fingerprint_text()
    }

    fn problem_of(rejection: Rejection) -> ApiError {
        let detail = rejection.to_string();
        match rejection {
            Rejection::EmailTaken => ApiError::conflict(codes::DUPLICATE_EMAIL, detail).at("#/email"),
            Rejection::UnknownCustomer { .. } => ApiError::not_found(codes::UNKNOWN_CUSTOMER, detail),
            // Callers can't request such a claim.
            Rejection::EmailKeyTaken { .. } | Rejection::NothingToClaim { .. } => ApiError::internal(&detail),
        }
    }

    async fn start(parts: &Parts) -> Result<Mounted, NotStarted> {
        let service = parts.start::<Self>().await?;
        email_keys::begin(&service.replica);
        Ok(Mounted::new(&service.clone(), CustomersApi(service)))
    }

    fn to_settle(found: &ToSettle) -> Vec<String> {
        let sentence = |it: &Collision| {
            let Collision { customer_id, held_by } = it;
            format!(
                "customers {customer_id} and {held_by} have one e-mail address in two spellings: change one of them"
            )
        };
        email_keys::reported(found).iter().map(sentence).collect()
    }

    fn example_ids() -> Vec<ExampleId> {
        vec![ExampleId { id: EXAMPLE_CUSTOMER, list: "/customers?limit=1", field: "customer_id" }]
    }
}

impl CustomersApi {
    fn address(&self, email: Email) -> Address {
        Address::new(email, self.0.replica.hash_key())
    }

    /// The customer, and the position that a past state (`as_of`) reflects.
    async fn customer(
        &self,
        id: CustomerId,
        as_of: Option<&str>,
        caller: &Caller,
        seen: &Freshness,
    ) -> ApiResult<(customers::Customer, Option<String>)> {
        let id = visible(id, caller)?;
        let looked = self.0.look(customers::Customer::aggregate(id), as_of, seen, Visibility::ToAll).await?;
        looked.found(customers::Entity::into_customer, || unknown(id))
    }
}

/// Customers that the caller may not see do not exist for it.
fn visible(id: CustomerId, caller: &Caller) -> ApiResult<CustomerId> {
    if caller.sees(id.0) { Ok(id) } else { Err(unknown(id)) }
}

fn unknown(customer_id: CustomerId) -> ApiError {
    CustomersService::problem_of(Rejection::UnknownCustomer { customer_id })
}

fn done(executed: &Executed<Customers>) -> Done<CustomerChanged> {
    let changed = CustomerChanged::of(executed);
    let version = changed.version;
    Done::new(executed, changed, version)
}

#[operations]
#[OpenApi(prefix_path = "/customers")]
impl CustomersApi {
    /// Create a customer
    ///
    /// The e-mail address must not belong to another customer, however it is spelled. Other services learn about the
    /// customer from `customer.created`; the name and the address stay here.
    #[operation(post = "/", scope = scopes::WRITE, bound = refused, no_target, problems(codes::DUPLICATE_EMAIL))]
    async fn create_customer(
        &self,
        head: CommandHeaders,
        body: Given<CreateCustomer>,
    ) -> ApiResult<Created<CustomerChanged>> {
        let ((name, email), customer_id) = (body.0, CustomerId(mint()));
        let command = Command::Create { customer_id, name, address: self.address(email) };
        let executed = self.0.execute(command, head, || "POST /customers".to_owned()).await?;
        let changed = CustomerChanged::of(&executed);
        let (location, version) = (format!("/customers/{}", changed.customer_id), changed.version);
        Ok(Created::new(&executed, changed, version).at(location))
    }

    /// Change a customer's name or e-mail address
    ///
    /// Omitted fields stay as they are. Inactive customers can be changed too.
    #[operation(patch = "/:customer_id", scope = scopes::WRITE, bound = own,
        problems(codes::DUPLICATE_EMAIL, codes::UNKNOWN_CUSTOMER, codes::NOTHING_TO_CHANGE)
    )]
    async fn update_customer(
        &self,
        customer_id: Path<CustomerId>,
        head: CommandHeaders,
        body: Given<UpdateCustomer>,
    ) -> ApiResult<Done<CustomerChanged>> {
        let (id, (name, email)) = (visible(customer_id.0, &head.caller)?, body.0);
        let command = Command::Update { customer_id: id, name, address: email.map(|email| self.address(email)) };
        Ok(done(&self.0.execute(command, head, || format!("PATCH /customers/{id}")).await?))
    }

    /// Deactivate a customer
    ///
    /// An inactive customer can't place orders. Repeating it changes nothing.
    #[operation(post = "/:customer_id/deactivate", scope = scopes::WRITE, bound = own, problems(codes::UNKNOWN_CUSTOMER))]
    async fn deactivate_customer(
        &self,
        customer_id: Path<CustomerId>,
        head: CommandHeaders,
    ) -> ApiResult<Done<CustomerChanged>> {
        let id = visible(customer_id.0, &head.caller)?;
        let command = Command::Deactivate { customer_id: id };
        Ok(done(&self.0.execute(command, head, || format!("POST /customers/{id}/deactivate")).await?))
    }

    /// Get a customer
    ///
    /// Reflects everything this instance has answered so far.
    #[operation(get = "/:customer_id", scope = scopes::READ, bound = own, problems(codes::UNKNOWN_CUSTOMER))]
    async fn get_customer(
        &self,
        caller: Caller,
        customer_id: Path<CustomerId>,
        as_of: AsOf,
        seen: Freshness,
    ) -> ApiResult<Found<Customer>> {
        let (customer, position) = self.customer(customer_id.0, as_of.0.as_deref(), &caller, &seen).await?;
        Ok(Found::new(Customer::from(&customer), customer.version).at(position))
    }

    /// List customers
    ///
    /// Newest first, in pages. Callers that act as a customer see only that customer.
    #[operation(get = "/", scope = scopes::READ, bound = own)]
    async fn list_customers(
        &self,
        caller: Caller,
        page: Paged,
        seen: Freshness,
    ) -> ApiResult<Listed<ListBody<Customer>>> {
        if let Some(own) = caller.owner().map(CustomerId) {
            let looked = self.0.look(customers::Customer::aggregate(own), None, &seen, Visibility::ToAll).await?;
            let own = looked.entity.as_ref().and_then(customers::Entity::as_customer);
            let items: Vec<_> = own.map(Customer::from).into_iter().collect();
            return Ok(Listed::new(items.into(), None));
        }
        let rows = self.0.fresh_rows(&seen).await?;
        let found = projections::list(&rows, &page.paging()?).await?;
        Ok(page.list(found, |customer| Customer::from(&customer)))
    }

    /// List a customer's orders
    ///
    /// Newest first, in pages. Queries the orders service: 503 or 504 if it does not answer.
    #[operation(get = "/:customer_id/orders", scope = crate::orders::scopes::READ, bound = own, asks = "orders", problems(codes::UNKNOWN_CUSTOMER))]
    #[expect(clippy::too_many_arguments, reason = "one for each parameter of the operation")]
    async fn list_customer_orders(
        &self,
        caller: Caller,
        customer_id: Path<CustomerId>,
        /// Only orders in this state.
        state: Query<Option<OrderState>>,
        /// Only orders with this payment status.
        payment: Query<Option<OrderPayment>>,
        page: Paged,
        seen: Freshness,
    ) -> ApiResult<Listed<ListBody<Order>>> {
        // Positions of other services are passed on to orders.
        let (seen, elsewhere) = seen.part(ServiceName::of::<Customers>());
        let (customer, _) = self.customer(customer_id.0, None, &caller, &seen).await?;
        let mut query = vec![("customer_id", customer.customer_id.to_string()), ("limit", page.limit().to_string())];
        query.extend(state.0.map(|state| ("state", orders_domain::OrderState::from(state).as_str().to_owned())));
        query.extend(payment.0.map(|it| ("payment", orders_domain::Payment::from(it).as_str().to_owned())));
        query.extend(page.cursor().map(|cursor| ("cursor", cursor.to_owned())));
        let orders = self.0.peers.get(ORDERS, "/orders", &query, &elsewhere).await?;
        let orders: ListBody<Order> = orders.ok_or(PeerError::Unavailable(ORDERS))?;
        let next = orders.next_cursor.as_deref().map(|cursor| page.link(cursor));
        Ok(Listed::new(orders, next))
    }
}
