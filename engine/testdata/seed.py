"""The scenario that a flame graph of SET is made from: rising numbers, one key.

Usage: seed.py HOST PORT COUNT
"""

import sys

import redis

FIRST = 10000000000
KEY = "test:key:name"


def main(host, port, count):
    with redis.Redis(host=host, port=port, db=0) as r:
        for number in range(FIRST, FIRST + count):
            if not r.set(KEY, number):
                sys.exit("SET was refused")
        print(r.get(KEY).decode())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
