# Все тексты бота по-русски. Переменные приходят готовыми и экранированными; <b>, <i>, <code> и <a> — разметка Telegram.

language-name = Русский

# Команды в меню
command-plans = Тарифы и цены
command-status = Моя подписка
command-history = Мои платежи
command-help = Как это работает
command-support = Написать в поддержку
command-paysupport = Помощь с оплатой
command-terms = Условия
command-language = Язык
command-revenue = Выручка
bot-about = Подписка на { $shop } с оплатой в криптовалюте.
bot-description = Выберите тариф, оплатите счёт в криптовалюте — и через несколько минут подписка активна.

# Приветствие и тарифы
welcome = <b>Здравствуйте{ $name }!</b> Это <b>{ $shop }</b>.
plans-title = <b>Тарифы</b>
plan-line = • <b>{ $tier }</b> — { $price } в месяц{ $quota }
plan-line-free = • <b>{ $tier }</b>{ $quota }
plan-quota = { $requests ->
    [one] , { $requests-text } запрос в месяц
    [few] , { $requests-text } запроса в месяц
   *[other] , { $requests-text } запросов в месяц
 }
plans-choose = Какой тариф вам подходит?
plans-extend-only = Продлить его можно в любой момент. Другой тариф можно купить, когда эта подписка закончится.
current-active = У вас <b>{ $tier }</b> до { $until }.
button-tier = { $tier } · { $price } / месяц
button-all-tiers = ‹ Все тарифы
button-plans = Посмотреть тарифы
button-extend = Продлить { $tier }
button-renew = Снова { $tier }

# Срок
tier-card = <b>{ $tier }</b>
    { $description }
tier-quota = { $requests ->
    [one] { $requests-text } запрос в месяц
    [few] { $requests-text } запроса в месяц
   *[other] { $requests-text } запросов в месяц
 }
period-choose = На какой срок?
period-days = { $days ->
    [one] { $days } день
    [few] { $days } дня
   *[other] { $days } дней
 }
button-period = { $length } · { $price }
button-period-saving = { $length } · { $price } (−{ $discount } %)
button-back = ‹ Назад

# Заказ
order-title = <b>{ $tier } · { $length }</b>
order-price = Цена: <b>{ $price }</b>
order-saving = Вы экономите { $saving }
order-until = Подписка будет активна до { $until }
order-extends = Продлит подписку до { $until }
order-how = Оплата — в криптовалюте на странице CryptoCloud, монета на ваш выбор. Точная сумма с комиссией сети, если она есть, — на той же странице.
button-pay = Оплатить { $price }
button-pay-rest = Доплатить
button-check = Проверить оплату
button-cancel = Отменить
button-again = Заказать снова
button-retry = Попробовать ещё раз
toast-making-invoice = Создаём счёт…
order-moved = Этот заказ продолжается ниже.
order-creating = Создаём счёт… одну минуту.
order-pending = Счёт готов. Оплатите его, пожалуйста, до { $until }.
order-pending-note = Мы напишем, как только платёж придёт: обычно 1–10 минут, Bitcoin — до часа. Чат можно закрыть.
order-partial = Пришло { $received }. Не хватает: <b>{ $missing }</b>.
order-partial-unknown = Пришла часть суммы. Сколько осталось — видно на странице счёта.
order-partial-note = Ссылка та же. Доплатите, пожалуйста, до { $until }.
order-review = Ваш платёж дошёл, сейчас его проверяет человек. Ничего делать не нужно, мы напишем.
order-paid = ✅ Оплачено. Спасибо!
order-expired = Срок счёта истёк. Если вы всё же отправили деньги, они не пропадут: мы продолжаем следить за счётом и напишем вам.
order-ended-in-part = Счёт закрылся раньше, чем был оплачен целиком. Пришло: { $received }. Напишите, пожалуйста, в поддержку: см. /paysupport.
order-canceled = Отменено. Платить ничего не нужно.
order-failed = Счёт создать не удалось. Ничего не списано.
order-refunded = Деньги за этот заказ возвращены.

# «Проверить оплату»
toast-looking = Смотрим…
toast-canceling = Отменяем…
check-paid = Этот заказ оплачен: квитанция { $number }. См. /status.
check-missing = Пришло { $received }, не хватает: <b>{ $missing }</b>. Ссылка та же.
check-not-yet = Пока не видно. Обычно это занимает 1–10 минут, Bitcoin — до часа. Мы напишем сами, ждать здесь не нужно.
check-no-answer = Платёжный сервис сейчас не отвечает. Ваш платёж не пропадёт: мы продолжаем проверять и напишем вам.
check-review = Ваш платёж дошёл, его проверяет человек. Мы напишем.
check-closed = Этот заказ закрыт. Если вы его оплатили, мы это увидим и напишем.
cancel-too-late = Этот заказ уже нельзя отменить: он только что изменился. Мы проверяем и напишем.

# Сообщения от бота
receipt = ✅ <b>Спасибо! Ваша подписка { $tier } активна</b> до { $until }.
receipt-details = { $length } · { $price }
    Квитанция <code>{ $number }</code>
receipt-overpaid = Вы переплатили{ $surplus }. Эти деньги не пропали: напишите, пожалуйста, в поддержку, см. /paysupport.
overpaid-by = { " " }на { $amount }
overpaid-later = За { $tier } · { $length } пришли ещё деньги, квитанция <code>{ $number }</code>.
partial-arrived = За { $tier } · { $length } пришло { $received }. Не хватает: <b>{ $missing }</b>. Доплатите, пожалуйста, по той же ссылке.
partial-arrived-unknown = За { $tier } · { $length } пришла часть суммы. Доплатите, пожалуйста, остаток по той же ссылке.
received-part = часть суммы
partial-ended = Счёт за { $tier } · { $length } закрылся раньше, чем был оплачен целиком. Пришло: { $received }. Напишите, пожалуйста, в поддержку и назовите <code>{ $number }</code>: см. /paysupport.
review-opened = Ваш платёж за { $tier } · { $length } дошёл. Сначала его проверит человек, вам ничего делать не нужно. Номер: <code>{ $number }</code>
review-closed = Мы проверили платёж <code>{ $number }</code> и не смогли его засчитать. Напишите, пожалуйста, в поддержку: см. /paysupport.
granted = 🎁 Вам подарили <b>{ $tier }</b> на { $length }: подписка активна до { $until }.
revoked = Поддержка завершила вашу подписку { $tier }. Если это неожиданно: /support

# /status
status-free = Ваш тариф: <b>{ $tier }</b>.
status-active = <b>{ $tier }</b> — подписка активна до { $until }.
status-left = Осталось: { $left }
status-ended = Подписка <b>{ $tier }</b> закончилась { $until }. Сейчас ваш тариф — { $free }.
status-open-order = Открытый счёт: { $tier } · { $length }, оплатить до { $until }.
status-open-order-partial = Счёт оплачен частично: { $tier } · { $length }, остаток — до { $until }.

# /history
history-title = <b>Ваши платежи</b>
history-line = { $date } · { $tier } · { $length } · { $price } · <b>{ $state }</b>
history-receipt = квитанция <code>{ $number }</code>
history-number = заказ <code>{ $number }</code>
history-empty = Платежей пока нет.
history-page-empty = Дальше ничего нет.
state-creating = создаётся
state-pending = ждёт оплаты
state-partial = оплачен частично
state-paid = оплачен
state-expired = истёк
state-ended-in-part = закрыт, оплачен частично
state-canceled = отменён
state-failed = не создан
state-refunded = возвращён
state-review = проверяется

# Помощь
help = <b>Как это работает</b>
    1. Выберите тариф и срок: /plans
    2. Оплатите счёт в криптовалюте, в любой монете со страницы счёта.
    3. Как только платёж подтвердится, подписка активна, а вы получите квитанцию.

    /status — что у вас есть и до какого числа
    /history — платежи и квитанции
    /language — Русский или English
    /paysupport — если с платежом что-то не так
    /support — всё остальное
support = Напишите нам: { $contact }
support-none = Поддержка здесь ещё не настроена. Напишите тому, от кого вы узнали об этом боте.
paysupport = <b>Помощь с оплатой</b>
    Оплатили, а ничего не произошло? Подтверждение занимает 1–10 минут, Bitcoin — до часа; мы смотрим ещё не меньше недели после закрытия счёта, опоздавшие платежи тоже видим.
    Заплатили меньше? Пока счёт открыт, остаток можно доплатить по той же ссылке.
    Заплатили больше? Подписка выдана один раз; про остаток напишите нам.
    Если всё равно не получилось, напишите { $contact } и назовите номер заказа из /history.
paysupport-none = <b>Помощь с оплатой</b>
    Оплатили, а ничего не произошло? Подтверждение занимает 1–10 минут, Bitcoin — до часа; мы смотрим ещё не меньше недели после закрытия счёта, опоздавшие платежи тоже видим.
    Заплатили меньше? Пока счёт открыт, остаток можно доплатить по той же ссылке.
    Заплатили больше? Подписка выдана один раз; про остаток напишите нам.
    Если всё равно не получилось, напишите тому, от кого вы узнали об этом боте, и назовите номер заказа из /history.
terms = Наши условия: { $url }
terms-none = <b>Коротко об условиях</b>
    Подписка начинается с подтверждённого платежа и длится выбранный срок. При новой оплате срок прибавляется к текущему. Подписка не продлевается автоматически. Платежи в криптовалюте необратимы; о возвратах — /paysupport.
language-choose = Какой язык вам удобнее?
language-chosen = Теперь мы говорим по-русски.

# Неожиданный ввод
unknown-command = Такой команды нет. Тарифы — /plans, остальное объяснит /help.
unknown-text = Я понимаю кнопки и команды: тарифы — /plans, подписка — /status, остальное — /help. Написать человеку: /support
button-out-of-date = Эта кнопка устарела. Что продаётся сейчас, покажет /plans.
too-fast = Минутку, пожалуйста: слишком быстро.
private-only = Напишите мне, пожалуйста, в личный чат.

# Ошибки для людей
error-unexpected = У нас что-то пошло не так. Попробуйте, пожалуйста, ещё раз.
error-database-away = Мы вернёмся через минуту. Ничего не потеряно, повторять не нужно.
error-unknown-tier = Этого больше нет в продаже. Что есть, покажет /plans.
error-unknown-payment = Такого заказа здесь нет. Ваши — в /history.
error-another-tier = У вас { $tier } до { $until }. Другой тариф можно купить после этого, а продлить этот — в любой момент.
error-invoice-in-progress = Счёт создаётся, одну минуту. Если он так и не появится, нажмите «Оплатить» ещё раз.
error-too-many-invoices = За час получилось очень много счетов. Попробуйте через час; открытый счёт виден в /status.
error-sales-closed = Продажи временно закрыты. Ничего не списано; попробуйте, пожалуйста, позже.
error-provider-away = Платёжный сервис не отвечает. Ничего не списано; попробуйте, пожалуйста, через несколько минут.
error-not-reviewable = Этот платёж не ждёт решения.

# Администраторам
revenue-title = <b>Выручка</b> ({ $zone })
revenue-today = Сегодня
revenue-week = 7 дней
revenue-month = 30 дней
revenue-all = Всё время
revenue-total = <b>{ $span }</b>: { $amount } · { $sales ->
    [one] { $sales } продажа
    [few] { $sales } продажи
   *[other] { $sales } продаж
 }
revenue-tier = • { $tier }: { $amount } · { $sales ->
    [one] { $sales } продажа
    [few] { $sales } продажи
   *[other] { $sales } продаж
 }
revenue-none = <b>{ $span }</b>: пока ничего
sale = 💰 { $price } — { $tier } · { $length }
    Покупатель <code>{ $user }</code>, квитанция <code>{ $number }</code>, до { $until }
alert-review = ⚠️ <b>Платёж ждёт вашего решения.</b> { $price } от <code>{ $user }</code>: { $reason }. Ничего не выдано.
    <code>python -m services payment accept { $number } --reason …</code> или <code>reject</code>
alert-late = Платёж <code>{ $number }</code> ({ $price }, покупатель <code>{ $user }</code>) пришёл после истечения или отмены счёта. Он засчитан.
alert-overpaid = Платёж <code>{ $number }</code> ({ $price }, покупатель <code>{ $user }</code>) переплачен{ $surplus }. Подписка выдана один раз.
alert-partial-ended = ⚠️ Счёт <code>{ $number }</code> ({ $price }, покупатель <code>{ $user }</code>) закрылся раньше, чем был оплачен целиком. Пришло: { $received }. Ничего не выдано, покупатель направлен в поддержку. Выдать всё же:
    <code>python -m services grant { $user } TIER PERIOD --reason …</code>
alert-unknown-status = CryptoCloud использует неизвестный нам статус: { $status }. Такие платежи остаются как есть. Нет ли новой версии бота?
alert-unsettled = ⚠️ Счёт { $invoice } не удалось провести ({ $error }). Посмотрите, пожалуйста, журнал: платёж не пропал и будет проверен снова.
alert-check-rejected = ⚠️ CryptoCloud раз за разом отказывается отвечать о платеже <code>{ $number }</code>. См. <code>python -m services payment show { $number }</code>
alert-cryptocloud-refused = ⚠️ <b>CryptoCloud не принимает наш ключ.</b> Пока CRYPTOCLOUD_API_KEY и CRYPTOCLOUD_SHOP_ID неверны, счета не создаются и платежи не видны. Оплаченное не потеряется.
alert-sales-closed-test-mode = ⚠️ <b>Продажи закрыты: проект CryptoCloud в тестовом режиме.</b> Настоящие деньги на тестовый счёт пропали бы. Выключите тестовый режим в настройках проекта или поставьте CRYPTOCLOUD_ALLOW_TEST_MODE=true, чтобы попробовать.
alert-sales-closed-amount = ⚠️ <b>Продажи закрыты:</b> CryptoCloud выставил { $got-amount } вместо { $price }. Проверьте настройки проекта (комиссии, валюта).
alert-sales-closed-currency = ⚠️ <b>Продажи закрыты:</b> CryptoCloud выставил счёт в { $got-currency } вместо { $currency }. Проверьте валюту в файле тарифов и в проекте.
alert-unclaimed = ⚠️ <b>Деньги за неизвестный заказ.</b> Счёт INV-{ $invoice }: { $status }. Если вы знаете, чей он:
    <code>python -m services payment adopt INV-{ $invoice } --user ID --tier TIER --period PERIOD</code>
alert-dead-update = Обновление от Telegram не удалось обработать, оно отложено (failed_updates { $update }): { $error }
alert-webhook-changed = ⚠️ Кто-то перенаправил webhook этого бота. Если это не вы, получите новый токен у BotFather прямо сейчас.
alert-undeliverable-text = Сообщение не удалось отправить ({ $error }), оно отложено: { $about }
