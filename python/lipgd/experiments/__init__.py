"""Experiments that anyone can repeat: each is a function that fills a folder.

>>> from lipgd.experiments.demo import demo
"""

from __future__ import annotations
