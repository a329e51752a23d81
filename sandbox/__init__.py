"""The outside world in one process: a Bot API, CryptoCloud, a checkout and people, to try and to test the bot.

It imports nothing of the product: it knows the product only by the protocols on both sides.
"""
