# Every text of the bot in English. Variables arrive formatted and HTML-escaped; <b>, <i>, <code> and <a> are Telegram's HTML.

language-name = English

# Commands, as the menu shows them
command-plans = Tiers and prices
command-status = My subscription
command-history = My payments
command-help = How this works
command-support = Contact support
command-paysupport = Help with a payment
command-terms = Terms
command-language = Language
command-revenue = Revenue
bot-about = Subscriptions to { $shop }, paid in crypto.
bot-description = Choose a tier, pay the invoice in crypto, and your subscription is active within minutes.

# Greeting and tiers
welcome = <b>Hello{ $name }!</b> Welcome to <b>{ $shop }</b>.
plans-title = <b>Tiers</b>
plan-line = • <b>{ $tier }</b> — { $price } a month{ $quota }
plan-line-free = • <b>{ $tier }</b>{ $quota }
plan-quota = { $requests ->
    [one] , { $requests-text } request a month
   *[other] , { $requests-text } requests a month
 }
plans-choose = Which one would you like?
plans-extend-only = You can extend it at any time. Another tier can be bought once it has ended.
current-active = You have <b>{ $tier }</b> until { $until }.
button-tier = { $tier } · { $price } / month
button-all-tiers = ‹ All tiers
button-plans = See tiers
button-extend = Extend { $tier }
button-renew = { $tier } again

# Period
tier-card = <b>{ $tier }</b>
    { $description }
tier-quota = { $requests ->
    [one] { $requests-text } request a month
   *[other] { $requests-text } requests a month
 }
period-choose = For how long?
period-days = { $days ->
    [one] { $days } day
   *[other] { $days } days
 }
button-period = { $length } · { $price }
button-period-saving = { $length } · { $price } (−{ $discount }%)
button-back = ‹ Back

# Order
order-title = <b>{ $tier } · { $length }</b>
order-price = Price: <b>{ $price }</b>
order-saving = You save { $saving }
order-until = Active until { $until }
order-extends = Extends your subscription until { $until }
order-how = You pay in crypto on CryptoCloud's page, in the coin of your choice. The page shows the exact amount, with any network fee.
button-pay = Pay { $price }
button-pay-rest = Pay the rest
button-check = I have paid
button-cancel = Cancel
button-again = Order again
button-retry = Try again
toast-making-invoice = Making your invoice…
order-moved = This order goes on further below.
order-creating = Making your invoice… one moment.
order-pending = Your invoice is ready. Please pay it before { $until }.
order-pending-note = We'll write as soon as the payment arrives: usually within 1–10 minutes, Bitcoin up to an hour. You may close this chat.
order-partial = { $received } has arrived. Still missing: <b>{ $missing }</b>.
order-partial-unknown = A part of the payment has arrived. The page shows what is still missing.
order-partial-note = The link is the same. Please pay the rest before { $until }.
order-review = Your payment has reached us, and a person is looking at it. You need not do anything; we'll write to you.
order-paid = ✅ Paid. Thank you!
order-expired = This invoice has expired. If you have sent money all the same, it is not lost: we keep looking and will write to you.
order-ended-in-part = This invoice ended before it was paid in full. What arrived: { $received }. Please write to support: see /paysupport.
order-canceled = Canceled. You owe nothing.
order-failed = The invoice could not be made. Nothing was charged.
order-refunded = This order was refunded.

# "I have paid"
toast-looking = Looking…
toast-canceling = Canceling…
check-paid = This order is paid: receipt { $number }. See /status.
check-missing = { $received } has arrived, still missing: <b>{ $missing }</b>. The link is the same.
check-not-yet = Not seen yet. It usually takes 1–10 minutes, Bitcoin up to an hour. We'll write to you, no need to wait here.
check-no-answer = The payment service does not answer right now. Your payment is safe: we keep asking and will write to you.
check-review = Your payment has reached us, and a person is looking at it. We'll write to you.
check-closed = This order is closed. If you have paid it all the same, we'll see that and write to you.
cancel-too-late = This order can no longer be canceled: it has just changed. We are looking and will write to you.

# Messages by themselves
receipt = ✅ <b>Thank you! Your { $tier } subscription is active</b> until { $until }.
receipt-details = { $length } · { $price }
    Receipt <code>{ $number }</code>
receipt-overpaid = You overpaid{ $surplus }. It is not lost: please write to support, see /paysupport.
overpaid-by = { " " }by { $amount }
overpaid-later = More money has arrived for { $tier } · { $length }, receipt <code>{ $number }</code>.
partial-arrived = { $received } has arrived for { $tier } · { $length }. Still missing: <b>{ $missing }</b>. Please pay it with the same link.
partial-arrived-unknown = A part of your payment for { $tier } · { $length } has arrived. Please pay the rest with the same link.
received-part = a part of the price
partial-ended = Your invoice for { $tier } · { $length } ended before it was paid in full. What arrived: { $received }. Please write to support and name <code>{ $number }</code>: see /paysupport.
review-opened = Your payment for { $tier } · { $length } has reached us. A person has to look at it first; you need not do anything. Number: <code>{ $number }</code>
review-closed = We looked at payment <code>{ $number }</code> and could not count it. Please write to support: see /paysupport.
granted = 🎁 You were given <b>{ $tier }</b> for { $length }: it is active until { $until }.
revoked = Your { $tier } subscription was ended by support. If this is a surprise: /support

# /status
status-free = Your tier: <b>{ $tier }</b>.
status-active = <b>{ $tier }</b> — active until { $until }.
status-left = { $left } left
status-ended = Your <b>{ $tier }</b> subscription ended on { $until }. You now have { $free }.
status-open-order = Open invoice: { $tier } · { $length }, to be paid before { $until }.
status-open-order-partial = Partly paid invoice: { $tier } · { $length }, the rest is due before { $until }.

# /history
history-title = <b>Your payments</b>
history-line = { $date } · { $tier } · { $length } · { $price } · <b>{ $state }</b>
history-receipt = receipt <code>{ $number }</code>
history-number = order <code>{ $number }</code>
history-empty = No payments yet.
history-page-empty = Nothing further here.
state-creating = being made
state-pending = waiting for payment
state-partial = partly paid
state-paid = paid
state-expired = expired
state-ended-in-part = ended, paid in part
state-canceled = canceled
state-failed = not made
state-refunded = refunded
state-review = being looked at

# Help
help = <b>How it works</b>
    1. Choose a tier and a period: /plans
    2. Pay the invoice in crypto, in any coin the page offers.
    3. As soon as the payment is confirmed, your subscription is active and you get a receipt.

    /status — what you have and until when
    /history — your payments and receipts
    /language — Русский or English
    /paysupport — something is wrong with a payment
    /support — everything else
support = Write to us: { $contact }
support-none = Support is not set up here yet. Please write to whoever gave you this bot.
paysupport = <b>Help with a payment</b>
    Paid but nothing happened? Confirmations take 1–10 minutes, Bitcoin up to an hour; we keep looking for at least a week after an invoice has ended, also for late payments.
    Paid too little? The same link takes the rest while the invoice is open.
    Paid too much? The subscription was granted once; write to us about the rest.
    If it still does not work out, write to { $contact } and name the number of the order from /history.
paysupport-none = <b>Help with a payment</b>
    Paid but nothing happened? Confirmations take 1–10 minutes, Bitcoin up to an hour; we keep looking for at least a week after an invoice has ended, also for late payments.
    Paid too little? The same link takes the rest while the invoice is open.
    Paid too much? The subscription was granted once; write to us about the rest.
    If it still does not work out, write to whoever gave you this bot and name the number of the order from /history.
terms = Our terms: { $url }
terms-none = <b>Terms in short</b>
    A subscription begins with the confirmed payment and lasts for the period you chose. Paying again adds to the end. The subscription does not renew by itself. Crypto payments cannot be reversed; for refunds see /paysupport.
language-choose = Which language do you prefer?
language-chosen = We speak English now.

# Odd input
unknown-command = There is no such command. /plans shows the tiers, /help explains the rest.
unknown-text = I understand buttons and commands: /plans for tiers, /status for your subscription, /help for the rest. To reach a person: /support
button-out-of-date = This button is out of date. /plans shows what is on sale now.
too-fast = One moment, please: that was very quick.
private-only = Please write to me in a private chat.

# Errors for people
error-unexpected = Something went wrong on our side. Please try again.
error-database-away = We'll be back in a moment. Nothing is lost: no need to press or write again.
error-unknown-tier = This is not on sale any more. /plans shows what is.
error-unknown-payment = This order is not known here. /history shows yours.
error-another-tier = You have { $tier } until { $until }. Another tier can be bought after that; this one can be extended at any time.
error-invoice-in-progress = Your invoice is being made, one moment. If nothing comes within a minute, press Pay again.
error-too-many-invoices = That is a lot of invoices for one hour. Please try again in an hour; an open invoice is in /status.
error-sales-closed = Sales are closed for the moment. Nothing was charged; please try again later.
error-provider-away = The payment service does not answer. Nothing was charged; please try again in a few minutes.
error-not-reviewable = This payment waits for no decision.

# Admins
revenue-title = <b>Revenue</b> ({ $zone })
revenue-today = Today
revenue-week = 7 days
revenue-month = 30 days
revenue-all = All time
revenue-total = <b>{ $span }</b>: { $amount } · { $sales ->
    [one] { $sales } sale
   *[other] { $sales } sales
 }
revenue-tier = • { $tier }: { $amount } · { $sales ->
    [one] { $sales } sale
   *[other] { $sales } sales
 }
revenue-none = <b>{ $span }</b>: nothing yet
sale = 💰 { $price } — { $tier } · { $length }
    Customer <code>{ $user }</code>, receipt <code>{ $number }</code>, until { $until }
alert-review = ⚠️ <b>A payment needs you.</b> { $price } from <code>{ $user }</code>: { $reason }. Nothing was granted.
    <code>python -m services payment accept { $number } --reason …</code> or <code>reject</code>
alert-late = Payment <code>{ $number }</code> ({ $price }, customer <code>{ $user }</code>) was paid after it had expired or was canceled. It counts.
alert-overpaid = Payment <code>{ $number }</code> ({ $price }, customer <code>{ $user }</code>) was overpaid{ $surplus }. The subscription was granted once.
alert-partial-ended = ⚠️ Payment <code>{ $number }</code> ({ $price }, customer <code>{ $user }</code>) ended before it was paid in full. What arrived: { $received }. Nothing was granted; the customer was sent to support. To give it all the same:
    <code>python -m services grant { $user } TIER PERIOD --reason …</code>
alert-unknown-status = CryptoCloud uses a status that we do not know: { $status }. Such payments stay as they are. Is there a newer version of this bot?
alert-unsettled = ⚠️ Invoice { $invoice } could not be settled ({ $error }). Please look at the log: the payment is safe and is tried again at the next check.
alert-check-rejected = ⚠️ CryptoCloud keeps refusing to tell about payment <code>{ $number }</code>. See <code>python -m services payment show { $number }</code>
alert-cryptocloud-refused = ⚠️ <b>CryptoCloud does not accept our key.</b> No invoices can be made and no payments seen until CRYPTOCLOUD_API_KEY and CRYPTOCLOUD_SHOP_ID are right. Paid invoices are not lost.
alert-sales-closed-test-mode = ⚠️ <b>Sales are closed: the CryptoCloud project is in test mode.</b> Real money sent to test invoices would be lost. Switch test mode off in the project's settings, or set CRYPTOCLOUD_ALLOW_TEST_MODE=true to try things out.
alert-sales-closed-amount = ⚠️ <b>Sales are closed:</b> CryptoCloud made an invoice for { $got-amount } instead of { $price }. Please look at the project's settings (fees, currency).
alert-sales-closed-currency = ⚠️ <b>Sales are closed:</b> CryptoCloud made an invoice in { $got-currency } instead of { $currency }. Please look at the currency in the tiers file and in the project.
alert-unclaimed = ⚠️ <b>Money for an order we do not know.</b> Invoice INV-{ $invoice } is { $status }. If you know whose it is:
    <code>python -m services payment adopt INV-{ $invoice } --user ID --tier TIER --period PERIOD</code>
alert-dead-update = An update from Telegram could not be handled and was put aside (failed_updates { $update }): { $error }
alert-webhook-changed = ⚠️ Somebody has pointed this bot's webhook elsewhere. If it was not you, get a new token from BotFather now.
alert-undeliverable-text = A message could not be sent ({ $error }) and was put aside: { $about }
