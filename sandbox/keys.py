"""Where the web application keeps the world and what watches over it."""

from aiohttp import ClientSession, web

from sandbox.child import Child
from sandbox.observer import Observer
from sandbox.webhook import WebhookSender
from sandbox.world import World

WORLD = web.AppKey("world", World)
TOKEN = web.AppKey("token", str)
CLIENT = web.AppKey("client", ClientSession)
WEBHOOK = web.AppKey("webhook", WebhookSender)
CHILD = web.AppKey("child", Child)
OBSERVER = web.AppKey("observer", Observer)
