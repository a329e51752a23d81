// What a Telegram client itself says, in the language of whoever holds the phone.

const WORDS = {
  en: {
    start: "START", restart: "RESTART", message: "Message", menu: "Menu", bot: "bot", typing: "typing…", edited: "edited",
    copied: "Copied", today: "Today", yesterday: "Yesterday", block: "Block", unblock: "Unblock",
    joined: "You are in the channel now.", asked: "You have asked to join. An admin has to let you in.",
    member: "You are in this channel already.", left: "You have left the channel.",
    channel: "channel", back: "Back to the bot", no_posts: "No posts yet.",
  },
  ru: {
    start: "ЗАПУСТИТЬ", restart: "ПЕРЕЗАПУСТИТЬ", message: "Сообщение", menu: "Меню", bot: "бот", typing: "печатает…", edited: "изменено",
    copied: "Скопировано", today: "Сегодня", yesterday: "Вчера", block: "Заблокировать", unblock: "Разблокировать",
    joined: "Вы теперь в канале.", asked: "Заявка отправлена. Её должен одобрить администратор.",
    member: "Вы уже в этом канале.", left: "Вы вышли из канала.",
    channel: "канал", back: "Назад к боту", no_posts: "Публикаций пока нет.",
  },
};

export const words = (language) => WORDS[language] ?? WORDS.en;

export function day(seconds, language) {
  const date = new Date(seconds * 1000);
  const midnight = new Date().setHours(0, 0, 0, 0);
  if (date >= midnight) return words(language).today;
  if (date >= midnight - 86_400_000) return words(language).yesterday;
  return date.toLocaleDateString(language, { day: "numeric", month: "long", year: "numeric" });
}
