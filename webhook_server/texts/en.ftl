language = English
languages = Language

tiers-title = Tiers
tiers-lead = Pick a tier, choose how long, and pay in crypto — all in the bot. It writes to you as soon as your subscription is active.
requests = { $count ->
    [one] { $count } request a month
   *[other] { $count } requests a month
}
days = { $count ->
    [one] { $count } day
   *[other] { $count } days
}
saving = save { $amount }
free = Free for everybody
get-tier = Get { $tier }
open-bot = Open the bot
bot-unknown = The bot is just starting. Its link will be here in a moment: please reload the page.

success-title = Thank you
success-text = If you have sent your payment, there is nothing left to do: the bot writes to you once the network has confirmed it.
success-more = This usually takes 1–10 minutes, with Bitcoin up to an hour. You may close this page.
error-title = The checkout was not finished
error-text = Your order is still in the bot. Return there to open the payment page again or to choose something else.
error-more = If you have already sent money, it is not lost: the bot keeps looking for it and writes to you.
return-to-bot = Return to the bot

not-found-title = There is no such page
not-found-text = Perhaps the address has a typing mistake.
trouble-title = Something went wrong on our side
trouble-text = Please try again in a minute.
refused-title = That does not work here
refused-text = The request was not understood.
to-tiers = See the tiers

questions = Questions?
terms = Terms of service
