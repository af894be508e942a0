//! The schema version of each service's read model. A file of another version is rebuilt from the log, which takes long: change one
//! of these only on purpose.

use orderlog_projections::{billing, customers, inventory, notifications, orders};

#[test]
fn a_read_model_is_rebuilt_only_on_purpose() {
    let versions = [
        customers::TABLES.version(),
        orders::TABLES.version(),
        inventory::TABLES.version(),
        billing::TABLES.version(),
        notifications::TABLES.version(),
    ];
    assert_eq!(versions, ["1.1.386a0bea", "1.3.00fa4b43", "1.1.54cbe1b3", "1.2.61741904", "1.2.4ef900db"]);
}
