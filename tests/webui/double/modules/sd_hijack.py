"""Hooks in the model; without them a prompt's emphasis is ignored, and nothing says so."""


class Hijack:
    def __init__(self):
        self.layers = None

    def hijack(self, m):
        self.layers = ["layer"]

    def undo_hijack(self, m):
        self.layers = None


model_hijack = Hijack()
