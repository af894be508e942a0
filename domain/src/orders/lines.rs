//! The total of an order's lines, and their units per SKU.
//!
//! Sums never saturate: lines whose sum overflows are not a valid order.

use std::collections::HashMap;

use crate::{
    inventory::StockLine,
    orders::OrderLine,
    values::{Money, Sku},
};

/// The lines of one SKU add up to more than [`Quantity::MAX`](crate::values::Quantity::MAX).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lines of SKU {0} add up to too many units")]
pub struct QuantityOverflow(pub Sku);

/// The units of each SKU, in the order in which the lines first name them.
///
/// # Errors
/// [`QuantityOverflow`] for the first SKU with too many units.
pub fn added_up(lines: &[OrderLine]) -> Result<Vec<StockLine>, QuantityOverflow> {
    let mut sums: Vec<StockLine> = Vec::with_capacity(lines.len());
    let mut places: HashMap<&Sku, usize> = HashMap::with_capacity(lines.len());
    for line in lines {
        let place = *places.entry(&line.sku).or_insert(sums.len());
        match sums.get_mut(place) {
            Some(sum) => {
                let quantity = sum.quantity.checked_add(line.quantity);
                sum.quantity = quantity.ok_or_else(|| QuantityOverflow(line.sku.clone()))?;
            }
            None => sums.push(StockLine { sku: line.sku.clone(), quantity: line.quantity }),
        }
    }
    Ok(sums)
}

/// The price of all lines. `None` if it is above [`Money::MAX`].
pub fn total_of(lines: &[OrderLine]) -> Option<Money> {
    lines.iter().try_fold(Money::ZERO, |total, line| total.checked_add(line.unit_price.checked_mul(line.quantity)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::Quantity;

    fn line(sku: &str, quantity: u32, unit_price: i64) -> OrderLine {
        OrderLine {
            sku: Sku::new(sku).unwrap(),
            quantity: Quantity::new(quantity).unwrap(),
            unit_price: Money::new(unit_price).unwrap(),
        }
    }

    fn units(sku: &str, quantity: u32) -> StockLine {
        StockLine { sku: Sku::new(sku).unwrap(), quantity: Quantity::new(quantity).unwrap() }
    }

    #[test]
    fn equal_skus_are_added_up_whatever_their_price() {
        let lines = [line("a", 1, 10), line("b", 2, 20), line("a", 3, 30)];
        assert_eq!(added_up(&lines), Ok(vec![units("a", 4), units("b", 2)]));
        assert_eq!(total_of(&lines), Money::new(140).ok());
    }

    #[test]
    fn too_many_units_of_one_sku_are_told_by_its_name() {
        let lines = [line("a", 1, 1), line("b", Quantity::MAX, 1), line("b", 1, 1)];
        assert_eq!(added_up(&lines), Err(QuantityOverflow(Sku::new("b").unwrap())));
    }

    #[test]
    fn a_total_never_wraps() {
        assert_eq!(total_of(&[line("a", 1, Money::MAX)]), Money::new(Money::MAX).ok());
        assert_eq!(total_of(&[line("a", 1, Money::MAX), line("b", 1, 1)]), None);
        assert_eq!(total_of(&[line("a", Quantity::MAX, Money::MAX)]), None);
    }
}
