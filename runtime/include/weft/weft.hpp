// Everything that the core of weft offers, but for fmt.hpp.
#pragma once

#include <weft/blocking.hpp>
#include <weft/buffer.hpp>
#include <weft/error.hpp>
#include <weft/fiber.hpp>
#include <weft/mutex.hpp>
#include <weft/net/endpoint.hpp>
#include <weft/net/serve.hpp>
#include <weft/net/tcp.hpp>
#include <weft/runtime.hpp>
#include <weft/wait_group.hpp>
